"""Tensors of values that are there already: numbers, lists, NumPy's arrays."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from lucid import _device
from lucid._types import (
    DeviceLike,
    DTypeLike,
    Tensor,
    dtype_name,
    number,
    plain_numpy,
    real,
    resolve_dtype,
    scalar,
    shown,
)
import mlx.core as mx
import numpy as np

_DEEPEST = 32  # nested lists; NumPy takes as many, or twice that


def tensor(data: Any, *, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """A tensor from a number, nested lists, a NumPy array or another tensor (copied).

    NumPy's float64 becomes float32 unless `dtype` asks for it.

    Raises:
        TypeError: if `data` contains anything but numbers and arrays.
        ValueError: if lists differ in length, or the dtype cannot hold a number.

    Example:
        >>> import lucid
        >>> lucid.tensor([[1.0, 2.0]]).shape
        (1, 2)
    """
    resolved = None if dtype is None else resolve_dtype(dtype)
    values = _plain(data, resolved, depth=0)
    with _device.running_on(device):
        try:
            return mx.array(values, resolved)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise ValueError(f"`data` cannot be a tensor: {error}") from None


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor with a NumPy array's values (copied; float64 becomes float32)."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"`array` must be a numpy.ndarray, not {type(array).__name__}.")
    return mx.array(plain_numpy("array", array))


def _plain(data: Any, dtype: mx.Dtype | None, depth: int) -> Any:
    """`data` with no number in it but Python's, and no array but MLX's."""
    if isinstance(data, tuple | list):
        if depth == _DEEPEST:
            raise ValueError(f"`data` is nested deeper than {_DEEPEST} lists.")
        if _is_row(data, dtype):
            return data
        return [_plain(entry, dtype, depth + 1) for entry in data]
    if isinstance(data, mx.array):
        return data
    if not isinstance(data, np.generic) and hasattr(data, "__array__"):
        array = plain_numpy("data", np.asarray(data))
        return mx.array(array, dtype)
    return _plain_number(number("data", data), dtype)


def _is_row(data: Sequence[Any], dtype: mx.Dtype | None) -> bool:
    """Whether these are Python's numbers, which `_plain_number` would not change."""
    kinds = set(map(type, data))
    if dtype is not None and mx.issubdtype(dtype, mx.integer):
        bounds = mx.iinfo(dtype)
        lowest, highest = bounds.min, min(bounds.max, 2**63 - 1)
        return kinds == {int} and lowest <= min(data) and max(data) <= highest
    return kinds == {float} or (kinds == {int} and _fits_int64(min(data), max(data)))


def _plain_number(value: Any, dtype: mx.Dtype | None) -> Any:
    """A number as MLX takes it, refusing those that the dtype cannot hold.

    As in PyTorch, a conversion to integers drops fractions, and one to floats may end
    at infinity.
    """
    if dtype is not None and mx.issubdtype(dtype, mx.integer):
        is_fraction = isinstance(value, float) and math.isfinite(value)
        return scalar("data", int(value) if is_fraction else value, dtype)
    if isinstance(value, complex):
        if dtype is not None and dtype != mx.complex64:
            raise ValueError(f"`data` (={value}) is no {dtype_name(dtype)}.")
    elif isinstance(value, int) and not _fits_int64(value):
        if dtype is None:
            raise ValueError(f"`data` (={shown(value)}) is beyond int64.")
        return real("data", value)
    return value


def _fits_int64(*values: int) -> bool:
    return all(-(2**63) <= value < 2**63 for value in values)
