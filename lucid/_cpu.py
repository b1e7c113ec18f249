"""Linux: a real BLAS and a calmer allocator for MLX's CPU backend, before MLX loads.

MLX's Linux wheel links the reference BLAS, which is much slower than MKL or OpenBLAS,
and its allocator gives every large buffer back to the system. Both can be mended from
outside, once, before `mlx.core` is first imported:

- `LUCID_BLAS`: `auto` (MKL from this environment, else a system OpenBLAS), `mkl`,
  `openblas`, a path to a library, or `0` for none. On an AMD EPYC, OpenBLAS 0.3.21
  takes 0.8 to 1.8 times what MKL does for the benchmark's shapes, alike on average, and
  more where other programs want the cores.
- `LUCID_MALLOC`: `0` leaves glibc's allocator as it is.

Anything else than Linux is left alone, and so is a machine without such a library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
import sys
import warnings

OFF = ("0", "off", "false", "no", "none")
"""What any of Lucid's variables says for no, in small or capital letters."""

OPENBLAS = ("libopenblas.so.0", "libopenblas.so")

# What speaks of OpenMP's threads: MKL heeds it with them alone.
_OPENMP = ("MKL_THREADING_LAYER", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "MKL_CBWR")
_TBB = 4  # MKL_THREADING_TBB (mkl_service.h)

# glibc's mallopt parameters (malloc.h), and a bound above any buffer worth keeping.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BELOW = 2**30

blas: str | None = None
"""The library that was loaded in place of the wheel's reference BLAS, if any."""


def prepare() -> None:
    """Load a BLAS and calm the allocator, unless told not to."""
    if sys.platform != "linux":
        return
    if os.environ.get("LUCID_MALLOC", "auto").lower() not in OFF:
        _calm_allocator()
    choice = os.environ.get("LUCID_BLAS") or "auto"
    if choice.lower() in OFF:
        return
    if "mlx.core" in sys.modules:
        _warn_too_late(choice)
        return
    _load(choice)


def is_reference_blas() -> bool:
    """Whether MLX's CPU backend multiplies by the wheel's own reference BLAS."""
    return sys.platform == "linux" and blas is None


def candidates(choice: str) -> list[str]:
    mkl = [str(path) for path in Path(sys.prefix, "lib").glob("libmkl_rt.so*")]
    known = {"auto": [*mkl, *OPENBLAS], "mkl": mkl, "openblas": list(OPENBLAS)}
    return known.get(choice.lower(), [choice])


def _load(choice: str) -> None:
    """Bind the first candidate that loads, for all that is loaded after it."""
    global blas
    for library in candidates(choice):
        try:
            loaded = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        _start_threads(loaded, Path(library).parent)
        blas = library
        return
    if choice.lower() != "auto":
        warnings.warn(
            f"LUCID_BLAS={choice} could not be loaded; MLX's CPU backend stays on its "
            "reference BLAS.",
            RuntimeWarning,
            stacklevel=4,
        )


def _start_threads(library: ctypes.CDLL, folder: Path) -> None:
    """Have MKL share its products by oneTBB, if that is beside it, and do so now.

    OpenMP's threads spin between products, in the way of all others. Where PyTorch has
    brought GNU's, MKL takes those; they sleep instead and are woken at each product,
    however small. Left to the first product, the choice would be made beside them.
    """
    start = getattr(library, "MKL_Get_Max_Threads", None)
    if start is None:
        return
    if not any(name in os.environ for name in _OPENMP):
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(folder / "libtbb.so.12"), mode=ctypes.RTLD_GLOBAL)
            library.MKL_Set_Threading_Layer(_TBB)
    start()


def _warn_too_late(choice: str) -> None:
    if any(os.path.exists(library) for library in candidates(choice)):
        warnings.warn(
            "mlx was imported before lucid, so its CPU backend keeps the slow "
            "reference BLAS: import lucid first (or set LUCID_BLAS=0 to silence this).",
            RuntimeWarning,
            stacklevel=4,
        )


def _calm_allocator() -> None:
    """Keep freed buffers for reuse instead of unmapping and faulting them in again."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEEP_BELOW)
        mallopt(_M_TRIM_THRESHOLD, 2 * _KEEP_BELOW - 1)
