"""Lucid: volumetric (3-D) deep learning on Apple Silicon, built on MLX."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from lucid import _cpu

_cpu.prepare()  # before anything imports MLX

# isort: split
from lucid import distributed, inference, metrics, models, nn, optim, plot
from lucid._device import plain_operations
from lucid._missing import missing_name as _missing_name
from lucid._types import DeviceLike, DTypeLike, PaddingMode, Size3d, Tensor
from lucid.conversion import from_numpy, tensor
from lucid.creation import (
    arange,
    empty,
    eye,
    full,
    get_rng_state,
    linspace,
    manual_seed,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    set_rng_state,
    zeros,
    zeros_like,
)
from lucid.files import CheckpointError, load, save
from lucid.joining import cat, stack
from lucid.metal.guard import MetalKernelWarning
from lucid.nn.summary import Summary, summary
from lucid.program import load_program
from lucid.tuning import autotune, get_autotune_state, set_autotune_state
from mlx.core import (
    bfloat16,
    bool_,
    complex64,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "DTypeLike",
    "DeviceLike",
    "MetalKernelWarning",
    "PaddingMode",
    "Size3d",
    "Summary",
    "Tensor",
    "arange",
    "autotune",
    "bfloat16",
    "bool_",
    "cat",
    "complex64",
    "distributed",
    "empty",
    "eye",
    "float16",
    "float32",
    "float64",
    "from_numpy",
    "full",
    "get_autotune_state",
    "get_rng_state",
    "inference",
    "int8",
    "int16",
    "int32",
    "int64",
    "linspace",
    "load",
    "load_program",
    "manual_seed",
    "metrics",
    "models",
    "nn",
    "ones",
    "ones_like",
    "optim",
    "plain_operations",
    "plot",
    "rand",
    "randint",
    "randn",
    "save",
    "set_autotune_state",
    "set_rng_state",
    "stack",
    "summary",
    "tensor",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "zeros",
    "zeros_like",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if not _TYPE_CHECKING:  # to a type checker, every name would be there

    def __getattr__(name):
        raise AttributeError(_missing_name(name))
