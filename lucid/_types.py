"""The types that every signature speaks of, and what turns a user's words into them.

Every check takes the name of the argument that it speaks of, and the value: a wrong
type is a TypeError, a wrong value a ValueError, and both begin with the name.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import operator
import os
from typing import Any, Literal, TypeAlias

import mlx.core as mx
import numpy as np

Tensor: TypeAlias = mx.array
"""Lucid's tensors are plain MLX arrays: no wrapper, no copy."""

Size3d: TypeAlias = int | tuple[int, int, int]
PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
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
    if isinstance(dtype, type | np.dtype):
        with contextlib.suppress(TypeError):
            name = np.dtype(dtype).name
    if isinstance(name, str) and name in DTYPES:
        return DTYPES[name]
    raise TypeError(f"`dtype` (={shown(dtype)}) must be one of {', '.join(DTYPES)}.")


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
        raise TypeError(f"`{name}` has dtype {array.dtype}, which MLX does not have.")
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def shown(value: Any) -> str:
    """A value as an error shows it: short, and computing nothing."""
    if isinstance(value, mx.array | np.ndarray):
        return f"an array of shape {value.shape}"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # 5000 digits, or 1000 lists in each other
        return f"a {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:197]}..."


def check_array(name: str, value: Any) -> None:
    """Refuse what is not an array; `lucid.tensor` makes one."""
    if not isinstance(value, mx.array):
        got = type(value).__name__
        if hasattr(type(value), "__array__"):  # NumPy's, PyTorch's
            got = f"{type(value).__module__}.{got}; lucid.tensor makes one"
        raise TypeError(f"`{name}` must be a lucid.Tensor (mlx.core.array), got {got}.")


def check_real(name: str, value: Any) -> None:
    """Refuse what is not an array of real numbers."""
    check_array(name, value)
    if mx.issubdtype(value.dtype, mx.complexfloating):
        raise TypeError(f"`{name}` must be of real numbers, got complex64.")


def check_floating(name: str, value: Any) -> None:
    """Refuse what is not an array of floating numbers."""
    check_array(name, value)
    if not mx.issubdtype(value.dtype, mx.floating):
        raise TypeError(
            f"`{name}` (={dtype_name(value.dtype)}) must be of a floating dtype."
        )


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """`value`, which must be one of these strings."""
    if text(name, value) not in choices:
        raise ValueError(f"`{name}` (={shown(value)}) must be one of {choices}.")
    return value


def text(name: str, value: Any) -> str:
    """`value`, which must be a string."""
    if not isinstance(value, str):
        raise TypeError(f"`{name}` (={shown(value)}) must be a string.")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False; PyTorch takes 1 and 0 too."""
    if isinstance(value, bool | np.bool_) or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise TypeError(f"`{name}` (={shown(value)}) must be True or False.")


def integer(name: str, value: Any) -> int:
    """`value` as an int, refusing floats, bools and strings."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` (={shown(value)}) must be an int, not a bool.")
    try:
        number = operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # MLX's, of an array in a trace
        raise TypeError(f"`{name}` (={shown(value)}) must be an int.") from None
    if number.bit_length() > 128:  # no size, axis or seed; nor can it be shown
        raise ValueError(f"`{name}` is an int of {number.bit_length()} bits.")
    return number


def positive(name: str, value: Any) -> int:
    """`value` as an int of at least 1 that MLX can count to."""
    number = integer(name, value)
    if number < 1:
        raise ValueError(f"`{name}` (={number}) must be at least 1.")
    if number > LONGEST:
        raise ValueError(f"`{name}` (={number}) must be at most {LONGEST}.")
    return number


def axis_of(name: str, value: Any, ndim: int) -> int:
    """One of `ndim` axes, counted from the front; negative ones count from the end."""
    axis = integer(name, value)
    if not -ndim <= axis < ndim:
        raise ValueError(
            f"`{name}` (={shown(axis)}) must be one of {ndim} axes: "
            f"from {-ndim} to {ndim - 1}."
            if ndim
            else f"`{name}` (={shown(axis)}) needs an array with axes."
        )
    return axis % ndim


def number(name: str, value: Any) -> Any:
    """Python's bool, int, float or complex of any library's number.

    The dates of NumPy are integers to Python, and end the process in MLX.
    """
    plain = value
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "mM":
        plain = None
    elif isinstance(value, np.generic | np.ndarray | mx.array) and value.ndim == 0:
        with contextlib.suppress(ValueError, RuntimeError):  # MLX's, in a trace
            plain = value.item()
    if isinstance(plain, bool | float | complex):
        return plain
    if isinstance(plain, numbers.Integral):
        if int(plain).bit_length() > 1024:
            raise ValueError(f"`{name}` is a number that no dtype holds.")
        return int(plain)
    if isinstance(plain, numbers.Real):  # a fraction, a long double
        return _as_float(name, plain)
    raise TypeError(f"`{name}` (={shown(value)}) must be a number.")


def real(name: str, value: Any) -> float:
    """`value` as a float or a small int, refusing bools and complex numbers."""
    plain = number(name, value)
    if isinstance(plain, bool | complex):
        kind = type(plain).__name__
        raise TypeError(f"`{name}` (={plain}) must be a real number, not a {kind}.")
    is_small = isinstance(plain, int) and abs(plain) < 2**31  # shown as it was given
    return plain if is_small else _as_float(name, plain)


def finite(name: str, value: Any) -> float:
    """`value` as `real` has it, neither infinite nor NaN."""
    plain = real(name, value)
    if not math.isfinite(plain):
        raise ValueError(f"`{name}` (={plain}) must be finite.")
    return plain


def scalar(name: str, value: Any, dtype: mx.Dtype) -> Tensor:
    """A 0-d array of `dtype` holding `value`: rounded if floating, else exactly.

    Raises:
        TypeError: if `value` is no number.
        ValueError: if the dtype cannot hold it.
    """
    plain = number(name, value)
    if not _holds(dtype, plain):
        raise ValueError(
            f"`{name}` (={shown(value)}) is no number that {dtype_name(dtype)} holds."
        )
    if mx.issubdtype(dtype, mx.integer):  # NumPy's way is exact beyond int64, too
        return mx.array(np.array(int(plain), dtype_name(dtype)))
    if dtype == mx.bool_:
        return mx.array(bool(plain))
    return mx.array(plain if isinstance(plain, complex) else float(plain), dtype)


def _holds(dtype: mx.Dtype, plain: Any) -> bool:
    if mx.issubdtype(dtype, mx.complexfloating):
        return all(_holds(mx.float32, part) for part in (plain.real, plain.imag))
    if isinstance(plain, complex):
        return False
    if mx.issubdtype(dtype, mx.floating):
        is_special = isinstance(plain, float) and not math.isfinite(plain)
        return is_special or abs(plain) <= mx.finfo(dtype).max
    if isinstance(plain, float) and not plain.is_integer():
        return False
    if dtype == mx.bool_:
        return plain in (0, 1)
    bounds = mx.iinfo(dtype)
    return bounds.min <= plain <= bounds.max


def _as_float(name: str, plain: Any) -> float:
    try:
        return float(plain)
    except OverflowError:
        raise ValueError(f"`{name}` is too large for a float.") from None


def triple(name: str, value: Any, minimum: int) -> tuple[int, int, int]:
    """An int, one or three ints as (depth, height, width), each at least `minimum`.

    Raises:
        TypeError: if `value` is neither an int nor a sequence of ints.
        ValueError: if it has another number of entries, or one is below `minimum`.
    """
    if type(value) is tuple and list(map(type, value)) == [int, int, int]:
        d, h, w = value  # as layers hold them: called for every convolution
    elif isinstance(value, tuple | list):
        if len(value) not in (1, 3):
            raise ValueError(
                f"`{name}` (={shown(value)}) must be an int or three ints."
            )
        entries = [integer(name, entry) for entry in value]
        d, h, w = entries if len(entries) == 3 else entries * 3
    else:
        d = h = w = integer(name, value)
    if min(d, h, w) < minimum or max(d, h, w) > LONGEST:
        raise ValueError(
            f"`{name}` (={shown(value)}) must be at least {minimum}, at most {LONGEST}."
        )
    return d, h, w


def check_allocatable(name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Refuse an array that this machine cannot hold: MLX would die of it."""
    too_long = any(length > LONGEST for length in shape)
    # An empty batch needs no memory, but a batch of one must fit all the same.
    needed = math.prod(max(length, 1) for length in shape) * itemsize
    if too_long or needed > physical_memory():
        size = f"{min(needed, 2**200) / 2**30:.1f} GiB"
        raise ValueError(
            f"{name} would be an array of shape {shown(shape)} ({size}), "
            "more than this machine can hold."
        )


def physical_memory() -> int:
    """Bytes of memory in this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
