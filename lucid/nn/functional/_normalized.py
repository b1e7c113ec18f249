"""What the normalizations share: arguments checked, volumes as channels of voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math

from lucid import layer_choice
from lucid._types import (
    Tensor,
    check_array,
    check_float_dtype,
    check_floating,
    dtype_name,
    integer,
    positive,
    real,
)
from lucid.layout import in_memory_order
from lucid.ops.norm import Shared
import mlx.core as mx


def normalized_axes(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    """An int or ints as a tuple of at least one length."""
    if not isinstance(normalized_shape, tuple | list):
        normalized_shape = (integer("normalized_shape", normalized_shape),)
    shape = tuple(integer("normalized_shape", length) for length in normalized_shape)
    if not shape or min(shape) < 0:
        raise ValueError(
            f"`normalized_shape` (={shape}) must be one or more lengths of at least 0."
        )
    return shape


def check_num_groups(num_groups: int, num_channels: int) -> None:
    """Refuse groups that do not divide the channels."""
    if num_channels % positive("num_groups", num_groups):
        raise ValueError(
            f"`num_groups` (={num_groups}) must divide the channels (={num_channels})."
        )


def normalize(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    shared: Shared,
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, and mean and variance in float32, (N, C)."""
    eps = real("eps", eps)
    n, channels = input.shape[:2]
    scale = mx.ones((channels,)) if weight is None else weight.astype(mx.float32)
    shift = mx.zeros((channels,)) if bias is None else bias.astype(mx.float32)
    statistics = mx.zeros((n, channels)), mx.zeros((n, channels))

    def function(x: Tensor, voxels: int) -> Tensor:
        nonlocal statistics
        if not input.size:
            return layer_choice.scale_and_shift(x, scale, shift, voxels)
        y, *statistics = layer_choice.normalize(x, scale, shift, eps, shared, voxels)
        return y

    return _of_channels(function, input), *statistics


def with_statistics(
    input: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """The output where mean and variance are given, (C,)."""
    scale = mx.rsqrt(variance.astype(mx.float32) + real("eps", eps))
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    return _of_channels(
        lambda x, voxels: layer_choice.scale_and_shift(x, scale, shift, voxels), input
    )


def _of_channels(function: Callable[[Tensor, int], Tensor], input: Tensor) -> Tensor:
    """`function(x, voxels)` of the input, as `lucid.ops.norm` takes it."""

    def in_order(x: Tensor, channel_axis: int) -> Tensor:
        n, c = input.shape[:2]
        count = math.prod(input.shape[2:])
        flat = (n, c, count) if channel_axis == 1 else (n, count, c)
        return function(x.reshape(flat), 3 - min(channel_axis, 2)).reshape(x.shape)

    return in_memory_order(in_order, input)


def move(running: Tensor, value: Tensor, momentum: float | Tensor) -> None:
    """Move a running statistic, in place: whoever holds the array sees it."""
    moved = (1 - momentum) * running + momentum * mx.stop_gradient(value)
    running[...] = moved.astype(running.dtype)  # which MLX would not keep


def check_momentum(momentum: float | Tensor) -> float | Tensor:
    """A number; or an array of one, as of a layer that counts its batches."""
    if isinstance(momentum, mx.array) and momentum.ndim == 0:
        check_floating("momentum", momentum)
        return momentum
    return real("momentum", momentum)


def check_batch(input: Tensor) -> int:
    """The channels of a batch."""
    check_array("input", input)
    check_float_dtype("input", input.dtype)
    if input.ndim < 2:
        raise ValueError(
            f"`input` must be (N, C, ...), of two axes or more, got {input.shape}."
        )
    return input.shape[1]


def check_per_channel(
    input: Tensor, channels: int, **parameters: Tensor | None
) -> None:
    for name, value in parameters.items():
        check_parameter(name, value, (channels,), input)


def check_parameter(
    name: str, value: Tensor | None, shape: tuple[int, ...], input: Tensor
) -> None:
    if value is None:
        return
    check_array(name, value)
    if value.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape}, got {value.shape}.")
    if value.dtype not in (input.dtype, mx.float32):
        raise TypeError(
            f"`{name}` (={dtype_name(value.dtype)}) must have the dtype of `input` "
            f"(={dtype_name(input.dtype)}) or float32."
        )


def check_running(channels: int, mean: Tensor | None, variance: Tensor | None) -> None:
    if (mean is None) != (variance is None):
        raise ValueError(
            "`running_mean` and `running_var` must be given together, or neither."
        )
    for name, value in (("running_mean", mean), ("running_var", variance)):
        if value is not None:
            check_array(name, value)
            check_float_dtype(name, value.dtype)
            if value.shape != (channels,):
                raise ValueError(
                    f"`{name}` must have shape ({channels},), the input's channels, "
                    f"got {value.shape}."
                )
