"""Max pooling by Metal kernel, and mean pooling as a resampling.

The gradient is a gather: a kernel writes where each window's largest voxel is, and a
voxel takes the cotangents of the windows that name it. Of windows of 2 with stride 2
the composition of MLX operations reads the volume once for each axis and keeps what it
selected; here forward reads it once, and backward once more to find the places.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple, TypeAlias

from lucid._types import LONGEST
from lucid.metal import launch
from lucid.metal.guard import guarded
from lucid.metal.smaller_layers import smaller_max_pool_gradients, smaller_max_pools
from lucid.metal.upsampling import Three
from lucid.ops import pooling
from lucid.ops.axis_maps import Gather
from lucid.ops.derivative import with_derivatives
from lucid.ops.pooling import Windows
import mlx.core as mx
import numpy as np

# Voxels of a window that one thread goes over, at most.
MOST_VOXELS = 512

Pools: TypeAlias = "tuple[Windows, Windows, Windows]"
"""The windows of D, H and W."""


@functools.lru_cache(maxsize=1024)
def fits(shape: tuple[int, ...], windows: Pools) -> bool:
    """Whether the kernels take it: small windows, places that 32 bits count."""
    spans = [along.spans() for along in windows]
    taps = [int((stop - start).max(initial=0)) for start, stop in spans]
    _, d, h, w, c = shape
    counted = max(d * h * w, max(w, windows[2].outputs) * c)
    return math.prod(taps) <= MOST_VOXELS and counted <= LONGEST


def max_pool(x: mx.array, windows: Pools) -> mx.array:
    """(N, D, H, W, C) -> (N, OD, OH, OW, C); ties as PyTorch's."""

    def vjp(x: mx.array, dy: mx.array) -> mx.array:
        return _spread(dy, places(x, windows), windows, x.shape)

    def jvp(x: mx.array, tangent: mx.array) -> mx.array:
        return _taken(tangent, places(x, windows), windows)

    return with_derivatives(lambda x: max_pool_kernel(x, windows), vjp, jvp)(x)


def places(x: mx.array, windows: Pools) -> mx.array:
    """Where in its volume, counted flat, each window's largest voxel is: int32."""
    return places_kernel(mx.stop_gradient(x), windows)


def _spread(
    dy: mx.array, place: mx.array, windows: Pools, shape: tuple[int, ...]
) -> mx.array:
    """The adjoint of `_taken`: to each voxel what its windows were given."""

    def vjp(arguments: Any, cotangent: mx.array) -> tuple[mx.array, ...]:
        _, place = arguments
        return _taken(cotangent, place, windows), mx.zeros_like(place)

    def jvp(arguments: Any, tangents: Any) -> mx.array:
        return _spread(tangents[0], arguments[1], windows, shape)

    def function(dy: mx.array, place: mx.array) -> mx.array:
        return max_pool_gradient_kernel(dy, place, windows, shape)

    return with_derivatives(function, vjp, jvp)(dy, place)


def _taken(x: mx.array, place: mx.array, windows: Pools) -> mx.array:
    """The voxels at `place`: a gather of MLX's, for second gradients alone."""

    def function(x: mx.array, place: mx.array) -> mx.array:
        n, c = place.shape[0], place.shape[4]
        at = place.reshape(n, -1, c)
        taken = mx.take_along_axis(x.reshape(n, -1, c), mx.maximum(at, 0), 1)
        return mx.where(at < 0, 0, taken).reshape(place.shape).astype(x.dtype)

    def vjp(arguments: Any, cotangent: mx.array) -> tuple[mx.array, ...]:
        x, place = arguments
        return _spread(cotangent, place, windows, x.shape), mx.zeros_like(place)

    def jvp(arguments: Any, tangents: Any) -> mx.array:
        return _taken(tangents[0], arguments[1], windows)

    return with_derivatives(function, vjp, jvp)(x, place)


def max_pool_ops(x: mx.array, windows: Pools) -> mx.array:
    """The twin of `max_pool_kernel`."""
    return pooling.max_pool(x, windows, 4)


@guarded(twin=max_pool_ops, smaller=smaller_max_pools)
def max_pool_kernel(x: mx.array, windows: Pools) -> mx.array:
    """`max_pool` by kernel: a voxel is loaded once for each window that it is in."""
    return _launch_windows(x, windows, x.dtype)


def places_ops(x: mx.array, windows: Pools) -> mx.array:
    """The twin of `places_kernel`."""
    return pooling.max_indices(x, windows, 4).astype(mx.int32)


@guarded(twin=places_ops, smaller=smaller_max_pools)
def places_kernel(x: mx.array, windows: Pools) -> mx.array:
    """`places` by kernel."""
    return _launch_windows(x, windows, mx.int32)


def max_pool_gradient_ops(
    dy: mx.array, place: mx.array, windows: Pools, shape: tuple[int, ...]
) -> mx.array:
    """The twin of `max_pool_gradient_kernel`: a window of each voxel at a time."""
    size = shape[1:4]
    ranges = [_holders(*pair) for pair in zip(windows, size, strict=True)]
    own = mx.arange(math.prod(size), dtype=mx.int32).reshape(*size, 1)
    most = [int((last - first).max(initial=-1)) + 1 for first, last in ranges]
    total = mx.zeros(shape)
    for offsets in np.ndindex(*most):
        v, at = dy.astype(mx.float32), place
        for axis, ((first, last), offset) in enumerate(
            zip(ranges, offsets, strict=True), start=1
        ):
            window = mx.array(np.clip(first + offset, 0, dy.shape[axis] - 1))
            inside = mx.array((first + offset <= last).astype(np.int32))
            inside = inside.reshape([-1 if i == axis else 1 for i in range(5)])
            v = mx.take(v, window, axis)
            at = mx.where(inside, mx.take(at, window, axis), -1)
        total = total + mx.where(at == own, v, 0)
    return total.astype(dy.dtype)


@guarded(twin=max_pool_gradient_ops, smaller=smaller_max_pool_gradients)
def max_pool_gradient_kernel(
    dy: mx.array, place: mx.array, windows: Pools, shape: tuple[int, ...]
) -> mx.array:
    """The gradient of `max_pool`, of `shape`, by kernel; sums in float32."""
    n, d, h, w, c = shape
    vector = 4 if c % 4 == 0 else 1
    tables = _tables(windows, (d, h, w))
    return launch.launch(
        "max_pool_gradient",
        inputs={
            "dy": dy,
            "place": place,
            "first": tables.first,
            "last": tables.last,
            "size": launch.integers(d, h, w),
        },
        template={"T": dy.dtype, "VEC": vector},
        threads=(w * c // vector, h, n * d),
        shape=shape,
        dtype=dy.dtype,
    )


@functools.lru_cache(maxsize=1024)
def mean_maps(windows: Pools, include_pad: bool, divisor: int | None) -> Three:
    """Mean pooling as `lucid.metal.upsampling.resample` computes it."""
    if divisor is None:
        counts = [along.counts(include_pad) for along in windows]
    else:
        counts = [np.array([divisor]), np.ones(1), np.ones(1)]
    depth, height, width = map(_mean_map, windows, counts)
    return depth, height, width


def _mean_map(along: Windows, counts: np.ndarray) -> Gather:
    """The sum of each window over its count."""
    start, stop = along.spans()
    start = np.maximum(start, 0)
    tap = np.arange((stop - start).max())[:, None]
    inside = tap < stop - start
    each = counts if len(counts) == len(start) else counts[0]
    weight = np.where(inside, 1 / each, 0)
    index = np.where(inside, start + tap, start)
    return Gather(along.length, index, weight.astype(np.float32))


class Tables(NamedTuple):
    """What the kernels read of the windows, the three axes one after the other."""

    start: mx.array
    stop: mx.array
    first: mx.array
    last: mx.array


def _launch_windows(x: mx.array, windows: Pools, dtype: mx.Dtype) -> mx.array:
    n, d, h, w, c = x.shape
    od, oh, ow = (along.outputs for along in windows)
    vector = 4 if c % 4 == 0 else 1
    tables = _tables(windows, (d, h, w))
    return launch.launch(
        "max_pool",
        inputs={
            "x": x,
            "start": tables.start,
            "stop": tables.stop,
            "size": launch.integers(od, oh, ow),
            "step": launch.integers(*(along.dilation for along in windows)),
        },
        template={
            "T": x.dtype,
            "R": dtype,
            "VEC": vector,
            "PLACES": dtype == mx.int32,
        },
        threads=(ow * c // vector, oh, n * od),
        shape=(n, od, oh, ow, c),
        dtype=dtype,
    )


@functools.lru_cache(maxsize=256)
def _tables(windows: Pools, size: tuple[int, int, int]) -> Tables:
    spans = [_inside(along) for along in windows]
    holders = [_holders(*pair) for pair in zip(windows, size, strict=True)]
    return Tables(
        *(
            mx.array(np.concatenate([pair[i] for pair in pairs]).astype(np.int32))
            for pairs, i in ((spans, 0), (spans, 1), (holders, 0), (holders, 1))
        )
    )


def _inside(along: Windows) -> tuple[np.ndarray, np.ndarray]:
    """For each window its first voxel that is not of the padding, and its end."""
    start, stop = along.spans()
    step = along.dilation
    return start + np.maximum(-start + step - 1, 0) // step * step, stop


def _holders(along: Windows, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each voxel the first and the last window whose span holds it."""
    start, stop = along.spans()
    voxel = np.arange(size)
    # Starts and stops never fall: the windows that hold a voxel are neighbors.
    last = np.searchsorted(start, voxel, "right") - 1
    return np.searchsorted(stop, voxel, "right"), last
