"""Resampling by Metal kernel: weighted sums of voxels, three axes in one pass.

MLX's composition goes along one axis after the other and holds an array between any
two; here an input is read and an output written once. Neighboring outputs take the same
voxels, which a cache serves: trilinear times two loads 8 vectors of 4 channels an
output (128 bytes of float32, 2 cycles of a core's cache) for the 18 bytes that pass
through memory, its adjoint 64 for 144.
"""

from __future__ import annotations

import functools
import math
from typing import Any, TypeAlias

from lucid._types import LONGEST
from lucid.metal import launch
from lucid.metal.guard import guarded
from lucid.metal.smaller_layers import smaller_resamplings
from lucid.ops import upsampling
from lucid.ops.axis_maps import AxisMap
from lucid.ops.derivative import with_derivatives
import mlx.core as mx
import numpy as np

# Taps of an output, at most: beyond, an axis at a time reads less.
MOST_TAPS = 64

Three: TypeAlias = "tuple[AxisMap, AxisMap, AxisMap]"
"""What happens along D, H and W."""


@functools.lru_cache(maxsize=1024)
def fits(shape: tuple[int, ...], maps: Three) -> bool:
    """Whether the kernel takes it: few taps, rows that 32 bits count."""
    pairs = zip(shape[1:4], maps, strict=True)
    tables = [of_axis.table(n)[0] for n, of_axis in pairs]
    longest = max(shape[3], tables[2].shape[1]) * shape[4]
    return math.prod(map(len, tables)) <= MOST_TAPS and longest <= LONGEST


def resample(x: mx.array, maps: Three) -> mx.array:
    """(N, D, H, W, C) -> (N, OD, OH, OW, C).

    The gradient is the same of the transposed maps.
    """

    def vjp(_: Any, dy: mx.array) -> mx.array:
        depth, height, width = maps
        return resample(dy, (depth.transposed, height.transposed, width.transposed))

    def jvp(_: Any, tangent: mx.array) -> mx.array:
        return resample(tangent, maps)

    return with_derivatives(lambda x: resample_kernel(x, maps), vjp, jvp)(x)


def resample_ops(x: mx.array, maps: Three) -> mx.array:
    """The twin of `resample_kernel`."""
    return upsampling.resample(x, list(enumerate(maps, start=1)))


@guarded(twin=resample_ops, smaller=smaller_resamplings)
def resample_kernel(x: mx.array, maps: Three) -> mx.array:
    """`resample` by kernel; sums in float32."""
    n, *before, c = x.shape
    index, weight, taps, after = _tables(tuple(before), maps)
    vector = 4 if c % 4 == 0 else 1
    od, oh, ow = after
    return launch.launch(
        "resample",
        inputs={
            "x": x,
            "index": index,
            "weight": weight,
            "size": launch.integers(od, oh, ow),
        },
        template={
            "T": x.dtype,
            "VEC": vector,
            **dict(zip(("TD", "TH", "TW"), taps, strict=True)),
        },
        threads=(ow * c // vector, oh, n * od),
        shape=(n, od, oh, ow, c),
        dtype=x.dtype,
    )


@functools.lru_cache(maxsize=256)
def _tables(
    before: tuple[int, ...], maps: Three
) -> tuple[mx.array, mx.array, tuple[int, ...], tuple[int, ...]]:
    """The kernel's `index` and `weight`, and the taps and outputs of each axis."""
    tables = [of_axis.table(n) for n, of_axis in zip(before, maps, strict=True)]
    index = np.concatenate([index.ravel() for index, _ in tables]).astype(np.int32)
    weight = np.concatenate([weight.ravel() for _, weight in tables])
    taps = tuple(len(index) for index, _ in tables)
    after = tuple(index.shape[1] for index, _ in tables)
    return mx.array(index), mx.array(weight.astype(np.float32)), taps, after
