"""The types that every signature speaks of, and what turns a user's words into them."""

from __future__ import annotations

import contextlib
import math
import operator
import os
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np

Tensor: TypeAlias = mx.array
"""Lucid's tensors are plain MLX arrays: no wrapper, no copy."""

Size3d: TypeAlias = int | tuple[int, int, int]
DTypeLike: TypeAlias = "mx.Dtype | str | np.dtype | type | None"
DeviceLike: TypeAlias = "mx.Device | mx.DeviceType | str | None"

# MLX counts and slices in 32 bits.
LONGEST = 2**31 - 1

FLOAT_DTYPES = (mx.float32, mx.float16, mx.bfloat16)
DTYPES = {
    name: getattr(mx, "bool_" if name == "bool" else name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64"),
        *("float16", "bfloat16", "float32", "float64", "complex64"),
    )
}


def dtype_name(dtype: mx.Dtype) -> str:
    """`mx.float32` -> `"float32"`."""
    return str(dtype).removeprefix("mlx.core.")


def resolve_dtype(dtype: DTypeLike) -> mx.Dtype:
    """The MLX dtype of an MLX dtype, a name, a NumPy dtype, or None (float32).

    Raises:
        TypeError: if MLX has no such dtype.
    """
    if dtype is None:
        return mx.float32
    if isinstance(dtype, mx.Dtype):
        return dtype
    name = dtype
    if not isinstance(dtype, str):
        with contextlib.suppress(TypeError):
            name = np.dtype(dtype).name
    if isinstance(name, str) and name in DTYPES:
        return DTYPES[name]
    raise TypeError(f"`dtype` (={dtype!r}) must be one of {', '.join(DTYPES)}.")


def check_float_dtype(name: str, dtype: mx.Dtype) -> None:
    """Refuse a dtype that Lucid's layers do not compute in."""
    if dtype not in FLOAT_DTYPES:
        raise TypeError(
            f"`{name}` (={dtype_name(dtype)}) must be float32, float16 or bfloat16."
        )


def plain_numpy(name: str, array: np.ndarray) -> np.ndarray:
    """The same numbers as MLX takes them: native byte order, rows one after another.

    Raises:
        TypeError: if MLX has no such dtype.
    """
    if array.dtype.name not in DTYPES:
        raise TypeError(f"`{name}` has dtype {array.dtype}, which MLX has not.")
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def integer(name: str, value: Any) -> int:
    """`value` as an int, refusing floats, bools and strings."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` (={value!r}) must be an int, not a bool.")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` (={value!r}) must be an int.") from None


def positive(name: str, value: Any) -> int:
    """`value` as an int of at least 1."""
    number = integer(name, value)
    if number < 1:
        raise ValueError(f"`{name}` (={number}) must be at least 1.")
    return number


def triple(name: str, value: Any, minimum: int) -> tuple[int, int, int]:
    """An int or three ints as (depth, height, width), each at least `minimum`.

    Raises:
        TypeError: if `value` is neither an int nor a sequence of ints.
        ValueError: if it has not three entries, or one is below `minimum`.
    """
    if type(value) is tuple and list(map(type, value)) == [int, int, int]:
        d, h, w = value  # as layers hold them: called for every convolution
    elif isinstance(value, tuple | list):
        if len(value) != 3:
            raise ValueError(f"`{name}` (={value!r}) must be an int or three ints.")
        d, h, w = (integer(name, entry) for entry in value)
    else:
        d = h = w = integer(name, value)
    if min(d, h, w) < minimum or max(d, h, w) > LONGEST:
        raise ValueError(
            f"`{name}` (={value!r}) must be at least {minimum}, at most {LONGEST}."
        )
    return d, h, w


def check_allocatable(name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse an array that this machine cannot hold: MLX would die of it."""
    too_long = any(length > LONGEST for length in shape)
    # An empty batch needs no memory, but a batch of one must fit all the same.
    needed = math.prod(max(length, 1) for length in shape) * itemsize
    if too_long or needed > physical_memory():
        raise ValueError(
            f"{name} would make an array of shape {shape} ({needed / 2**30:.1f} GiB), "
            "more than this machine can hold."
        )


def physical_memory() -> int:
    """Bytes of memory in this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
