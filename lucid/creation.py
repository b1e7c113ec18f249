"""Making tensors: sizes as separate numbers or one tuple, `dtype=` and `device=`.

Without a `dtype`, functions that are given no values make float32 (`zeros`, `randn`,
`eye`, `linspace` ...); those given values (`tensor`, `full`, `arange`, the `_like`s)
keep the values' kind: ints make int32, floats float32. In unified memory a device is
where an operation runs, not where its result lives.
"""

from __future__ import annotations

import math
from typing import Any

from lucid import _device
from lucid._types import (
    DeviceLike,
    DTypeLike,
    Tensor,
    check_allocatable,
    check_array,
    check_float_dtype,
    dtype_name,
    finite,
    integer,
    number,
    real,
    resolve_dtype,
    scalar,
    shown,
)
import mlx.core as mx

# One object for all threads; its entry is the calling thread's key.
_random_state: Any = mx.random.state


def zeros(*size: Any, dtype: DTypeLike = None, device: DeviceLike = None) -> Tensor:
    """A tensor of zeros.

    Args:
        size: the shape, as ints or one tuple.
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
    """A tensor of zeros: MLX has no uninitialized memory."""
    return _filled(size, 0, dtype, device)


def full(
    size: Any,
    fill_value: float,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
) -> Tensor:
    """A tensor filled with one value, whose type decides the dtype if none is given."""
    value = number("fill_value", fill_value)
    resolved = _kind_of("fill_value", value) if dtype is None else resolve_dtype(dtype)
    return _filled((size,), value, resolved, device, name="fill_value")


def zeros_like(
    input: Tensor, *, dtype: DTypeLike = None, device: DeviceLike = None
) -> Tensor:
    """Zeros of the shape and (by default) the dtype of `input`."""
    check_array("input", input)
    return zeros(
        input.shape, dtype=input.dtype if dtype is None else dtype, device=device
    )


def ones_like(
    input: Tensor, *, dtype: DTypeLike = None, device: DeviceLike = None
) -> Tensor:
    """Ones of the shape and (by default) the dtype of `input`."""
    check_array("input", input)
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
    """start, start + step, ... below end; `arange(n)` starts at 0.

    Example:
        >>> import lucid
        >>> lucid.arange(2, 8, 3)
        array([2, 5], dtype=int32)
    """
    first = _bound("start", 0 if end is None else start)
    last = _bound("start" if end is None else "end", start if end is None else end)
    step = _bound("step", step)
    if step == 0:
        raise ValueError("`step` must not be 0.")
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
    """`steps` evenly spaced values from start to end, both included."""
    first, last, resolved = real("start", start), real("end", end), resolve_dtype(dtype)
    (count,) = _shape((integer("steps", steps),), max(resolved.size, 4), name="steps")
    with _device.running_on(device):
        return mx.linspace(first, last, count, dtype=resolved)


def eye(
    n: int, m: int | None = None, *, dtype: DTypeLike = None, device: DeviceLike = None
) -> Tensor:
    """An (n, m) matrix with ones on the diagonal; m is n by default."""
    resolved = resolve_dtype(dtype)
    (rows,) = _shape((integer("n", n),), name="n")
    (columns,) = (rows,) if m is None else _shape((integer("m", m),), name="m")
    check_allocatable("`n`", (rows, columns), resolved.size)
    with _device.running_on(device):
        return mx.eye(rows, columns, dtype=resolved)


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
        raise ValueError(
            f"`low` (={shown(low)}) must be below `high` (={shown(high)})."
        )
    resolved = resolve_dtype(dtype)
    if not mx.issubdtype(resolved, mx.integer):
        raise TypeError(f"`dtype` (={dtype_name(resolved)}) must be an integer dtype.")
    bounds = mx.iinfo(resolved)
    if low < bounds.min or high - 1 > bounds.max:
        raise ValueError(
            f"`low` (={shown(low)}) or `high` (={shown(high)}) is beyond "
            f"{dtype_name(resolved)}."
        )
    shape = _shape((size,), itemsize=8)
    check_allocatable("`size`", (math.prod(shape),), itemsize=8)
    with _device.running_on(device):
        return _integers(low, high - low, shape).astype(resolved)


def _integers(low: int, count: int, shape: tuple[int, ...]) -> Tensor:
    """int64 or uint64 numbers from `low` on, `count` of them, each as likely.

    `mx.random.randint` draws by float32, which has no odd number beyond 2^24. Here a
    remainder of 64 bits is taken: one number is more likely than another by
    count / 2^64 at most.
    """
    key, draw = mx.random.split(get_rng_state())
    bits = mx.random.split(draw, math.prod(shape)).view(mx.uint64).reshape(shape)
    set_rng_state(key)
    if count < 2**64:
        bits = bits % scalar("high", count, mx.uint64)
    numbers = bits + scalar("low", low % 2**64, mx.uint64)  # modulo 2^64
    return numbers.view(mx.int64) if low < 0 else numbers


def manual_seed(seed: int) -> None:
    """Set the seed of the random state; the same as `mx.random.seed`."""
    seed = integer("seed", seed)
    mx.random.seed(seed % 2**64)


def get_rng_state() -> Tensor:
    """The random state of this thread, for `set_rng_state`."""
    return mx.array(_random_state[0])


def set_rng_state(new_state: Tensor) -> None:
    """Set the random state to one that `get_rng_state` returned.

    The key is not evaluated, so this works inside traced functions too.
    """
    is_key = isinstance(new_state, mx.array) and new_state.dtype == mx.uint32
    if not is_key or new_state.shape != (2,):
        raise TypeError("`new_state` must be what get_rng_state returned.")
    mx.random.seed(0)  # a fresh array, so that no key held elsewhere is overwritten
    _random_state[0][...] = new_state


def _filled(
    size: tuple[Any, ...],
    value: Any,
    dtype: DTypeLike,
    device: DeviceLike,
    name: str = "value",
) -> Tensor:
    resolved = resolve_dtype(dtype)
    shape = _shape(size, resolved.size)
    with _device.running_on(device):
        return mx.full(shape, scalar(name, value, resolved))


def _shape(
    size: tuple[Any, ...], itemsize: int = 4, name: str = "size"
) -> tuple[int, ...]:
    """`zeros(2, 3)` and `zeros((2, 3))` alike, refusing what is no shape."""
    if len(size) == 1 and isinstance(size[0], tuple | list):
        size = tuple(size[0])
    shape = tuple(integer(name, length) for length in size)
    if any(length < 0 for length in shape):
        raise ValueError(f"`{name}` (={shown(shape)}) must not be negative.")
    check_allocatable(f"`{name}`", shape, itemsize)
    return shape


def _floating(dtype: DTypeLike) -> mx.Dtype:
    resolved = resolve_dtype(dtype)
    check_float_dtype("dtype", resolved)
    return resolved


def _bound(name: str, value: Any) -> int | float:
    """A finite number that MLX can count from."""
    bound = number(name, value)
    if isinstance(bound, bool) or not isinstance(bound, int):
        return finite(name, bound)
    if not -(2**63) <= bound < 2**63:
        raise ValueError(f"`{name}` (={shown(bound)}) is beyond int64.")
    return bound


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
