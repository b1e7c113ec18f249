"""Making tensors: sizes as separate numbers or one tuple, `dtype=` and `device=`.

Without a `dtype`, functions that are given no values make float32 (`zeros`, `randn`,
`eye`, `linspace` ...); those given values (`tensor`, `full`, `arange`, the `_like`s)
keep the values' kind: ints make int32, floats float32. In unified memory a device is
where an operation runs, not where its result lives.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from lucid import _device
from lucid._types import (
    DeviceLike,
    DTypeLike,
    Tensor,
    check_allocatable,
    check_float_dtype,
    dtype_name,
    integer,
    plain_numpy,
    resolve_dtype,
)
import mlx.core as mx
import numpy as np

# One object for all threads; its entry is the calling thread's key.
_random_state: Any = mx.random.state


def zeros(*size: Any, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """A tensor of zeros.

    Args:
        size: the shape, as separate ints or one tuple.
        dtype: None is float32.
        device: where to run; None is MLX's default.

    Example:
        >>> import lucid
        >>> lucid.zeros(2, 3).shape, lucid.zeros((2, 3)).shape
        ((2, 3), (2, 3))
    """
    return _filled(size, 0, dtype, device)


def ones(*size: Any, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """A tensor of ones; arguments as for `zeros`."""
    return _filled(size, 1, dtype, device)


def empty(*size: Any, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """A tensor to be overwritten; MLX has no uninitialized memory, so it is zeros."""
    return _filled(size, 0, dtype, device)


def full(
    size: Any,
    fill_value: float,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
) -> Tensor:
    """A tensor holding one value; without a dtype, the value's kind decides."""
    fill_value = _number("fill_value", fill_value)
    resolved = (
        _kind_of("fill_value", fill_value) if dtype is None else resolve_dtype(dtype)
    )
    return _filled((size,), fill_value, resolved, device)


def zeros_like(
    input: Tensor, *, dtype: DTypeLike = None, device: DeviceLike = None
) -> Tensor:
    """Zeros of the shape, and unless told otherwise the dtype, of `input`."""
    return zeros(
        input.shape, dtype=input.dtype if dtype is None else dtype, device=device
    )


def ones_like(
    input: Tensor, *, dtype: DTypeLike = None, device: DeviceLike = None
) -> Tensor:
    """Ones of the shape, and unless told otherwise the dtype, of `input`."""
    return ones(
        input.shape, dtype=input.dtype if dtype is None else dtype, device=device
    )


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
) -> Tensor:
    """start, start + step, ... below end; `arange(n)` counts from 0.

    Example:
        >>> import lucid
        >>> lucid.arange(2, 8, 3)
        array([2, 5], dtype=int32)
    """
    first = _number("start", 0 if end is None else start)
    last = _number("end", start if end is None else end)
    step = _number("step", step)
    if step == 0 or not all(map(math.isfinite, (first, last, step))):
        raise ValueError(
            f"`start`, `end` and `step` (={first}, {last}, {step}) must be finite, and "
            "`step` not 0."
        )
    count = min((last - first) / step, 2.0**63)  # beyond that, an infinite quotient
    check_allocatable("`end`", (max(0, math.ceil(count)),), 8)
    if dtype is not None:
        resolved = resolve_dtype(dtype)
    else:
        resolved = _kind_of(
            "end", first, last - 1 if isinstance(last, int) else last, step
        )
    with _device.running_on(device):
        return mx.arange(first, last, step, dtype=resolved)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
) -> Tensor:
    """`steps` values from start to end, both included, evenly apart."""
    (steps,) = _shape((steps,), name="steps")
    with _device.running_on(device):
        return mx.linspace(start, end, steps, dtype=resolve_dtype(dtype))


def eye(
    n: int, m: int | None = None, *, dtype: DTypeLike = None, device: DeviceLike = None
) -> Tensor:
    """Ones on the diagonal of an (n, m) matrix; m is n unless given."""
    rows, columns = _shape((n, n if m is None else m), name="n")
    with _device.running_on(device):
        return mx.eye(rows, columns, dtype=resolve_dtype(dtype))


def rand(*size: Any, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """Uniform numbers in [0, 1); arguments as for `zeros`, floating dtypes only."""
    with _device.running_on(device):
        return mx.random.uniform(shape=_shape(size), dtype=_floating(dtype))


def randn(*size: Any, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """Normal numbers of mean 0 and variance 1; arguments as for `rand`."""
    with _device.running_on(device):
        return mx.random.normal(shape=_shape(size), dtype=_floating(dtype))


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    dtype: DTypeLike = mx.int32,
    device: DeviceLike = None,
) -> Tensor:
    """Integers in [low, high); `randint(high, size)` draws from [0, high).

    Example:
        >>> import lucid
        >>> lucid.randint(10, (2, 3)).shape, lucid.randint(5, 10, (2, 3)).shape
        ((2, 3), (2, 3))
    """
    if size is None:
        low, high, size = 0, low, high
    low, high = integer("low", low), integer("high", high)
    if low >= high:
        raise ValueError(f"`low` (={low}) must be below `high` (={high}).")
    resolved = resolve_dtype(dtype)
    if not mx.issubdtype(resolved, mx.integer):
        raise TypeError(f"`dtype` (={dtype_name(resolved)}) must be an integer dtype.")
    bounds = mx.iinfo(resolved)
    if low < bounds.min or high - 1 > bounds.max:
        raise ValueError(
            f"`low` (={low}) or `high` (={high}) is beyond {dtype_name(resolved)}."
        )
    with _device.running_on(device):
        return mx.random.randint(low, high, shape=_shape((size,)), dtype=resolved)


def tensor(data: Any, *, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """A tensor of a number, nested lists, a NumPy array or another tensor (copied).

    NumPy's float64 becomes float32 unless `dtype` asks for it.

    Example:
        >>> import lucid
        >>> lucid.tensor([[1.0, 2.0]]).shape
        (1, 2)
    """
    if isinstance(data, np.ndarray):
        data = plain_numpy("data", data)
    with _device.running_on(device):
        return mx.array(data, None if dtype is None else resolve_dtype(dtype))


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor with a NumPy array's values (copied; float64 becomes float32)."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"`array` must be a numpy.ndarray, not {type(array).__name__}.")
    return mx.array(plain_numpy("array", array))


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors along an axis they have."""
    return mx.concatenate(_sequence(tensors), axis=dim)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis."""
    return mx.stack(_sequence(tensors), axis=dim)


def manual_seed(seed: int) -> None:
    """Make what is drawn from here on reproducible; the same as `mx.random.seed`."""
    seed = integer("seed", seed)
    mx.random.seed(seed % 2**64)


def get_rng_state() -> Tensor:
    """The random state of this thread: a key for `set_rng_state`."""
    return mx.array(_random_state[0])


def set_rng_state(new_state: Tensor) -> None:
    """Go back to a state that `get_rng_state` returned.

    The key is not evaluated, so this works inside traced functions too.
    """
    is_key = isinstance(new_state, mx.array) and new_state.dtype == mx.uint32
    if not is_key or new_state.shape != (2,):
        raise TypeError("`new_state` must be what get_rng_state returned.")
    mx.random.seed(0)  # a fresh array, so that no key held elsewhere is overwritten
    _random_state[0][...] = new_state


def _filled(
    size: tuple[Any, ...], value: float, dtype: DTypeLike, device: DeviceLike
) -> Tensor:
    resolved = resolve_dtype(dtype)
    shape = _shape(size, resolved.size)
    if resolved == mx.bool_:
        value = bool(value)  # mx.full would keep an int's own dtype
    with _device.running_on(device):
        return mx.full(shape, value, dtype=resolved)


def _shape(
    size: tuple[Any, ...], itemsize: int = 4, name: str = "size"
) -> tuple[int, ...]:
    """`zeros(2, 3)` and `zeros((2, 3))` alike, refusing what is no shape."""
    if len(size) == 1 and isinstance(size[0], tuple | list):
        size = tuple(size[0])
    shape = tuple(integer(name, length) for length in size)
    if any(length < 0 for length in shape):
        raise ValueError(f"`{name}` (={shape}) must not be negative.")
    check_allocatable(f"`{name}`", shape, itemsize)
    return shape


def _floating(dtype: DTypeLike) -> mx.Dtype:
    resolved = resolve_dtype(dtype)
    check_float_dtype("dtype", resolved)
    return resolved


def _number(name: str, value: Any) -> Any:
    """A Python number of a Python or NumPy one."""
    number = value.item() if isinstance(value, np.generic) else value
    if not isinstance(number, int | float | complex):
        raise TypeError(f"`{name}` (={value!r}) must be a number.")
    if isinstance(number, int) and not -(2**63) <= number < 2**63:
        raise ValueError(f"`{name}` (={number}) is beyond int64.")
    return number


def _kind_of(name: str, *values: Any) -> mx.Dtype:
    """The dtype of Python numbers: the first of bool, int32, float32, complex64."""
    kinds = {type(value) for value in values}
    if complex in kinds:
        return mx.complex64
    if float in kinds:
        return mx.float32
    if int not in kinds:
        return mx.bool_
    if not all(-(2**31) <= value < 2**31 for value in values):
        raise ValueError(f"`{name}` needs more than int32 holds: give a wider `dtype`.")
    return mx.int32


def _sequence(tensors: Sequence[Tensor]) -> list[Tensor]:
    if not isinstance(tensors, tuple | list) or not tensors:
        raise TypeError("`tensors` must be a non-empty tuple or list of tensors.")
    return list(tensors)
