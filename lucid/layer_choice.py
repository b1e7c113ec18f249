"""What computes a layer of the kit: a Metal kernel, or MLX operations.

On a GPU volumes lie channels-last in memory, and MLX's operations read and write them
several times over (`docs/layers_on_gpu.md`): the kernels once, or twice where a mean
comes first. They take arrays that are not empty, of float32, float16 and bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from lucid import _device
from lucid._types import FLOAT_DTYPES
from lucid.layout import contiguous
from lucid.metal import norm as metal_norm
from lucid.metal import pooling as metal_pooling
from lucid.metal import upsampling as metal_upsampling
from lucid.metal.pooling import Pools
from lucid.ops import norm, pooling, upsampling
from lucid.ops.axis_maps import AxisMap, Repeat
from lucid.ops.norm import Shared
from lucid.ops.pooling import Windows
import mlx.core as mx


def normalize(
    x: mx.array,
    weight: mx.array,
    bias: mx.array,
    eps: float,
    shared: Shared,
    voxels: int,
) -> tuple[mx.array, mx.array, mx.array]:
    """`lucid.ops.norm.normalize` in float32; the output in the dtype of `x`."""
    if voxels == 1 and _by_kernel(x):
        return metal_norm.normalize(x, weight, bias, eps, shared)
    wide = x.astype(mx.float32)
    y, mean, variance = norm.normalize(wide, weight, bias, eps, shared, voxels)
    return y.astype(x.dtype), mean, variance


def scale_and_shift(
    x: mx.array, scale: mx.array, shift: mx.array, voxels: int
) -> mx.array:
    """`lucid.ops.norm.scale_and_shift` in float32; the output in the dtype of `x`."""
    if voxels == 1 and _by_kernel(x):
        return metal_norm.scale_and_shift(x, scale, shift)
    wide = x.astype(mx.float32)
    return norm.scale_and_shift(wide, scale, shift, voxels).astype(x.dtype)


def max_pool(x: mx.array, windows: Sequence[Windows], channel_axis: int) -> mx.array:
    """`lucid.ops.pooling.max_pool`."""
    if _pools_by_kernel(x, windows, channel_axis):
        # Read again for the gradient.
        return metal_pooling.max_pool(contiguous(x), cast(Pools, tuple(windows)))
    return pooling.max_pool(x, windows, channel_axis)


def max_indices(x: mx.array, windows: Sequence[Windows], channel_axis: int) -> mx.array:
    """`lucid.ops.pooling.max_indices`."""
    if _pools_by_kernel(x, windows, channel_axis):
        places = metal_pooling.places(x, cast(Pools, tuple(windows)))
        return places.astype(mx.int64)
    return pooling.max_indices(x, windows, channel_axis)


def mean_pool(
    x: mx.array,
    windows: Sequence[Windows],
    channel_axis: int,
    include_pad: bool = True,
    divisor: int | None = None,
) -> mx.array:
    """`lucid.ops.pooling.mean_pool` in float32; the output in the dtype of `x`."""
    if _pools_by_kernel(x, windows, channel_axis):
        maps = metal_pooling.mean_maps(
            cast(Pools, tuple(windows)), include_pad, divisor
        )
        if metal_upsampling.fits(x.shape, maps):
            return metal_upsampling.resample(x, maps)
    wide = x.astype(mx.float32)
    y = pooling.mean_pool(wide, windows, channel_axis, include_pad, divisor)
    return y.astype(x.dtype)


def resample(x: mx.array, maps: Sequence[AxisMap], channel_axis: int) -> mx.array:
    """`lucid.ops.upsampling.resample` of D, H and W."""
    depth, height, width = maps
    three = (depth, height, width)
    by_kernel = channel_axis == 4 and _by_kernel(x) and set(maps) != {Repeat(1)}
    if by_kernel and metal_upsampling.fits(x.shape, three):
        return metal_upsampling.resample(x, three)
    first = 2 if channel_axis == 1 else 1
    return upsampling.resample(
        x, list(enumerate(maps, start=first)), _device.is_plain()
    )


def _by_kernel(x: mx.array) -> bool:
    is_theirs = x.size > 0 and x.dtype in FLOAT_DTYPES
    return is_theirs and _device.on_gpu() and _device.uses_metal()


def _pools_by_kernel(
    x: mx.array, windows: Sequence[Windows], channel_axis: int
) -> bool:
    if channel_axis != 4 or not _by_kernel(x):
        return False
    return metal_pooling.fits(x.shape, cast(Pools, tuple(windows)))
