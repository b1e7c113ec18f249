"""What a measured time depends on, beside the problem."""

from __future__ import annotations

import functools
from importlib.metadata import version
import os
from pathlib import Path
import platform
import sys

import lucid
from lucid import _cpu
import mlx.core as mx

_THREADS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS", "MKL_THREADING_LAYER", "MKL_CBWR"),
)


@functools.cache
def machine() -> dict[str, str]:
    """Chip, system, BLAS, threads, allocator, and the versions of MLX and Lucid."""
    return {
        "chip": _chip(),
        "system": _system(),
        "blas": _blas(),
        "threads": _threads(),
        "allocator": os.environ.get("LUCID_MALLOC", "auto"),
        "mlx": version("mlx"),
        "lucid": lucid.__version__,
    }


def _chip() -> str:
    names = [
        str(mx.device_info(device).get("device_name", ""))
        for device in (mx.cpu, mx.gpu)
        if mx.is_available(device)
    ]
    return ", ".join(dict.fromkeys(filter(None, names))) or platform.processor()


def _system() -> str:
    mac = platform.mac_ver()[0]
    return f"{f'macOS {mac}' if mac else platform.system()} {platform.machine()}"


def _blas() -> str:
    if sys.platform != "linux":
        return "MLX's"
    if _cpu.blas is None:
        return "reference"
    return Path(_cpu.blas).resolve().name


def _threads() -> str:
    """How many cores there are, and what a BLAS is told of them."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    told = [f"{name}={os.environ[name]}" for name in _THREADS if name in os.environ]
    return ", ".join([str(cores), *told])
