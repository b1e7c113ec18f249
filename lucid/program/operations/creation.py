"""New arrays."""

from __future__ import annotations

import math
from typing import Any

from lucid._types import DTYPES, check_allocatable
import mlx.core as mx


def dtype_of(name: str | None, default: mx.Dtype = mx.float32) -> mx.Dtype:
    """MLX's dtype; float64, which its GPU lacks, is float32."""
    if name is None:
        return default
    return mx.float32 if name == "float64" else DTYPES[name]


def checked(size: Any) -> list[int]:
    """A size that this machine can hold, whatever a file claims."""
    sizes = [int(n) for n in size]
    if min(sizes, default=0) < 0:
        raise ValueError(f"`size` (={sizes}) must not be negative.")
    check_allocatable("`size`", tuple(sizes), 8)
    return sizes


def _of_number(number: Any) -> mx.Dtype:
    if isinstance(number, bool):
        return mx.bool_
    return mx.int64 if isinstance(number, int) else mx.float32


def _full(size: Any, fill_value: Any, dtype: str | None = None, **_: Any) -> mx.array:
    return mx.full(checked(size), fill_value, dtype_of(dtype, _of_number(fill_value)))


def _arange(
    end: Any, start: Any = 0, step: Any = 1, dtype: str | None = None, **_: Any
) -> mx.array:
    checked([max(math.ceil((end - start) / step), 0)])
    whole = all(isinstance(value, int) for value in (start, end, step))
    default = mx.int64 if whole else mx.float32
    return mx.arange(start, end, step, dtype=dtype_of(dtype, default))


def _like(make: Any) -> Any:
    def like(self: mx.array, dtype: str | None = None, **_: Any) -> mx.array:
        return make(self.shape).astype(dtype_of(dtype, self.dtype))

    return like


def _sized(make: Any) -> Any:
    def sized(size: Any, dtype: str | None = None, **_: Any) -> mx.array:
        return make(checked(size)).astype(dtype_of(dtype))

    return sized


CREATION = {
    "aten.zeros.default": _sized(mx.zeros),
    "aten.ones.default": _sized(mx.ones),
    "aten.empty.memory_format": _sized(mx.zeros),
    "aten.rand.default": _sized(mx.random.uniform),
    "aten.randn.default": _sized(mx.random.normal),
    "aten.full.default": _full,
    "aten.arange.default": _arange,
    "aten.arange.start": _arange,
    "aten.arange.start_step": _arange,
    "aten.linspace.default": lambda start, end, steps, dtype=None, **_: mx.linspace(
        start, end, checked([steps])[0], dtype=dtype_of(dtype)
    ),
    "aten.scalar_tensor.default": lambda s, dtype=None, **_: mx.array(
        s, dtype_of(dtype, _of_number(s))
    ),
    "aten.zeros_like.default": _like(mx.zeros),
    "aten.ones_like.default": _like(mx.ones),
    "aten.empty_like.default": _like(mx.zeros),
    "aten.rand_like.default": _like(mx.random.uniform),
    "aten.randn_like.default": _like(mx.random.normal),
    "aten.full_like.default": lambda self, fill_value, dtype=None, **_: mx.full(
        self.shape, fill_value, dtype_of(dtype, self.dtype)
    ),
    "aten.new_zeros.default": lambda self, size, dtype=None, **_: mx.zeros(
        checked(size), dtype_of(dtype, self.dtype)
    ),
    "aten.new_ones.default": lambda self, size, dtype=None, **_: mx.ones(
        checked(size), dtype_of(dtype, self.dtype)
    ),
    "aten.new_full.default": lambda self, size, fill_value, dtype=None, **_: mx.full(
        checked(size), fill_value, dtype_of(dtype, self.dtype)
    ),
    "aten.bernoulli.default": lambda self, **_: mx.random.bernoulli(self).astype(
        self.dtype
    ),
    "aten.eye.default": lambda n, dtype=None, **_: mx.eye(
        checked([n, n])[0], dtype=dtype_of(dtype)
    ),
}
