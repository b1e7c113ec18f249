"""The bias of a convolution: a number for each channel."""

from __future__ import annotations

import mlx.core as mx


def add_bias(y: mx.array, bias: mx.array, channel_axis: int) -> mx.array:
    """`y` plus a number for each channel, with MLX's derivatives.

    The bias is broadcast one axis at a time, so that its gradient is summed one axis at
    a time: much closer to the exact sum than MLX's reduction over all four at once,
    and no slower. Half types are summed in float32.
    """
    voxels, spread = y.size // max(bias.size, 1), aligned(bias, channel_axis)
    if voxels <= 2**12:  # any order of sums is exact enough
        return y + spread
    spread = spread.astype(mx.float32)
    spread = spread.reshape((1,) * (y.ndim - spread.ndim) + spread.shape)
    grown = list(spread.shape)
    for axis, size in enumerate(y.shape):
        if grown[axis] != size:
            grown[axis] = size
            spread = mx.broadcast_to(spread, grown)
    return y + spread.astype(bias.dtype)


def aligned(bias: mx.array, channel_axis: int) -> mx.array:
    """The bias in a shape that broadcasts against an output."""
    return bias if channel_axis == -1 else bias.reshape(-1, 1, 1, 1)


def bias_gradient(dy: mx.array, channel_axis: int) -> mx.array:
    """The sum over batch and voxels; MLX would sum half types in half precision.

    One axis after the other: MLX sums a single one most exactly on the CPU. Channels
    are seen last, which costs little where they are first in memory; seen first, each
    sum of what has them last would stride over all of it.
    """
    total = mx.moveaxis(dy.astype(mx.float32), channel_axis, -1)
    while total.ndim > 1:
        total = total.sum(axis=-2)
    return total.astype(dy.dtype)
