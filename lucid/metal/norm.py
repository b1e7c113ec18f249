"""Normalization by Metal kernel: sums over voxels, and what is made of them.

An array is (N, V, C), volumes channels-last in memory; what belongs to a channel of a
volume is (N, C), in float32. Two kernels serve instance, group and batch norm, forward,
backward and twice backward: they are each other's derivatives.

Forward, the input is read twice (statistics come before the first output) and an eighth
of it once more, for a first guess of the means; backward, input and cotangent are read
twice. Each is one pass over memory in its order, VEC channels a thread. Sums take few
operations for each byte, so the reduction in a threadgroup's memory, at the end of a
run of voxels, costs nothing beside the reading.
"""

from __future__ import annotations

import math
from typing import Any

from lucid.layout import contiguous
from lucid.metal import launch
from lucid.metal.guard import guarded
from lucid.metal.smaller_layers import smaller_affines, smaller_sums
from lucid.ops.derivative import with_derivatives, with_vjp_of_outputs
from lucid.ops.norm import GUESSED, Shared
import mlx.core as mx

# Threads wanted for sums: a few times what the largest GPUs keep resident.
THREADS_WANTED = 2**16
# Voxels that a thread adds up, at most: the error of a sum grows with their number.
LONGEST_RUN = 256
# Voxels of a thread that has its coefficients loaded.
ROWS = 4


def normalize(
    x: mx.array, weight: mx.array, bias: mx.array, eps: float, shared: Shared
) -> tuple[mx.array, mx.array, mx.array]:
    """`lucid.ops.norm.normalize` of (N, V, C), in the dtype of `x`."""
    x = contiguous(x)
    n, voxels, _ = x.shape
    few = max(1, voxels // GUESSED)
    zeros = mx.zeros((n, x.shape[2]))
    total, _ = sums_kernel(None, mx.stop_gradient(x), zeros, few)  # a constant
    guess = shared.pool(total) / (shared.count(n) * few)
    y, offset, variance = _normalize_around(x, weight, bias, guess, eps, shared)
    return y, guess + offset, variance


def _normalize_around(
    x: mx.array,
    weight: mx.array,
    bias: mx.array,
    guess: mx.array,
    eps: float,
    shared: Shared,
) -> tuple[mx.array, ...]:
    """The output, the means less `guess`, which are near 0, and the variances."""
    count = shared.count(x.shape[0]) * x.shape[1]

    def forward(
        x: mx.array, weight: mx.array, bias: mx.array, guess: mx.array
    ) -> tuple[mx.array, ...]:
        total, squares = sums(None, x, guess, x.shape[1])
        mean = shared.pool(total) / count
        variance = mx.maximum(shared.pool(squares) / count - mean * mean, 0)
        scale = weight * mx.rsqrt(variance + eps)
        y = affine(None, None, x, guess, scale, bias - mean * scale)
        return y, mean, variance

    def vjp(arguments: Any, cotangents: Any, outputs: Any) -> tuple[mx.array, ...]:
        (x, weight, _, guess), (_, mean, variance) = arguments, outputs
        dy, dmean, dvariance = cotangents
        dy = contiguous(dy)
        r = mx.rsqrt(variance + eps)
        dbias, dscale = sums(dy, x, guess, x.shape[1])
        dscale = dscale - mean * dbias
        scale = weight * r
        # dx = scale * dy - slope * (x - mean) + constant
        slope = shared.pool(r * r * scale * dscale - 2 * dvariance) / count
        constant = shared.pool(dmean - scale * dbias) / count
        dx = affine(dy, scale, x, guess, -slope, constant + mean * slope)
        return dx, (r * dscale).sum(0), dbias.sum(0), mx.zeros_like(guess)

    return with_vjp_of_outputs(forward, vjp)(x, weight, bias, guess)


def scale_and_shift(x: mx.array, scale: mx.array, shift: mx.array) -> mx.array:
    """x * scale + shift, both (C,), of (N, V, C)."""
    x, shape = contiguous(x), (x.shape[0], x.shape[2])
    scale, shift = (mx.broadcast_to(t, shape) for t in (scale, shift))
    return affine(None, None, x, mx.zeros(shape), scale, shift)


def sums(a: mx.array | None, x: mx.array, center: mx.array, rows: int) -> mx.array:
    """(2, N, C): the sums of `a` and of a * (x - center) over the first `rows` voxels.

    Without `a`, those of x - center and of its square. `center` is a constant.
    """
    if a is None:

        def vjp_of_x(arguments: Any, g: mx.array) -> tuple[mx.array, ...]:
            x, center = arguments
            dx = affine(None, None, x, center, 2 * g[1], g[0])
            return dx, mx.zeros_like(center)

        def jvp_of_x(arguments: Any, tangents: Any) -> mx.array:
            x, center = arguments
            both = sums(tangents[0], x, center, rows)
            return both * mx.array([1.0, 2.0]).reshape(2, 1, 1)

        function = with_derivatives(
            lambda x, center: sums_kernel(None, x, center, rows), vjp_of_x, jvp_of_x
        )
        return function(x, center)

    def vjp(arguments: Any, g: mx.array) -> tuple[mx.array, ...]:
        a, x, center = arguments
        none = mx.zeros_like(center)
        da = affine(None, None, x, center, g[1], g[0])
        return da, affine(None, None, a, none, g[1], none), none

    def jvp(arguments: Any, tangents: Any) -> mx.array:
        (a, x, center), (of_a, of_x, _) = arguments, tangents
        none = mx.zeros_like(center)
        total = mx.zeros((2, *center.shape))
        if of_a is not None:
            total = total + sums(of_a, x, center, rows)
        if of_x is not None:
            total = total + mx.stack([none, sums(of_x, a, none, rows)[1]])
        return total

    function = with_derivatives(
        lambda a, x, center: sums_kernel(a, x, center, rows), vjp, jvp
    )
    return function(a, x, center)


def affine(
    a: mx.array | None,
    a_scale: mx.array | None,
    x: mx.array,
    center: mx.array,
    x_scale: mx.array,
    shift: mx.array,
) -> mx.array:
    """a * a_scale + (x - center) * x_scale + shift, in the dtype of `x`.

    Without `a`, the rest of it. `center` is a constant.
    """
    voxels = x.shape[1]

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, ...]:
        *of_a, x, center, x_scale, _ = arguments
        dy, none = contiguous(dy), mx.zeros_like(center)

        def scaled(scale: mx.array) -> mx.array:
            return affine(None, None, dy, none, scale, none)

        dshift, dx_scale = sums(dy, x, center, voxels)
        gradients = (scaled(x_scale), none, dx_scale, dshift)
        if not of_a:
            return gradients
        a, a_scale = of_a
        return scaled(a_scale), sums(dy, a, none, voxels)[1], *gradients

    if a is None or a_scale is None:
        function = with_derivatives(
            lambda *rest: affine_kernel(None, None, *rest), vjp, _affine_tangent
        )
        return function(x, center, x_scale, shift)
    return with_derivatives(affine_kernel, vjp, _affine_tangent)(
        a, a_scale, x, center, x_scale, shift
    )


def _affine_tangent(arguments: Any, tangents: Any) -> mx.array:
    """The tangent of `affine`, with `a` or without it."""
    *of_a, x, center, x_scale, _ = arguments
    *of_a_moved, x_moved, _, x_scale_moved, shift_moved = tangents
    none = mx.zeros_like(center)
    by = none if x_scale_moved is None else x_scale_moved
    moved = affine(
        None, None, x, center, by, none if shift_moved is None else shift_moved
    )
    pairs = [(x_moved, x_scale)]
    if of_a:
        pairs += [(of_a_moved[0], of_a[1])]
        if of_a_moved[1] is not None:
            moved = moved + affine(None, None, of_a[0], none, of_a_moved[1], none)
    for array, scale in pairs:
        if array is not None:
            moved = moved + affine(None, None, array, none, scale, none)
    return moved


def sums_ops(a: mx.array | None, x: mx.array, center: mx.array, rows: int) -> mx.array:
    """The twin of `sums_kernel`."""
    v = x[:, :rows].astype(mx.float32) - center[:, None]
    u = v if a is None else a[:, :rows].astype(mx.float32)
    return mx.stack([u.sum(1), (u * v).sum(1)])


@guarded(twin=sums_ops, smaller=smaller_sums)
def sums_kernel(
    a: mx.array | None, x: mx.array, center: mx.array, rows: int
) -> mx.array:
    """`sums` by kernel."""
    n, _, c = x.shape
    vector = 4 if c % 4 == 0 else 1
    lanes = c // vector
    height = max(1, launch.LARGEST_GROUP // lanes)
    run = -(-rows * lanes * n // THREADS_WANTED)
    rows_a_split = height * min(max(run, ROWS), LONGEST_RUN)
    splits = -(-rows // rows_a_split)
    threads = lanes, height, n * splits
    group = math.prod(launch.threadgroup(threads))
    parts = launch.launch(
        "channel_sums",
        inputs={
            "a": x if a is None else a,
            "x": x,
            "center": center,
            "size": launch.integers(rows, rows_a_split),
        },
        template={
            "T": x.dtype,
            "VEC": vector,
            "MOMENTS": a is None,
            "GROUP": max(group, launch.LARGEST_GROUP),
        },
        threads=threads,
        shape=(splits, 2, n, c),
        dtype=mx.float32,
    )
    return parts.sum(0)


def affine_ops(
    a: mx.array | None,
    a_scale: mx.array | None,
    x: mx.array,
    center: mx.array,
    x_scale: mx.array,
    shift: mx.array,
) -> mx.array:
    """The twin of `affine_kernel`."""
    y = (x.astype(mx.float32) - center[:, None]) * x_scale[:, None] + shift[:, None]
    if a is not None and a_scale is not None:
        y = y + a.astype(mx.float32) * a_scale[:, None]
    return y.astype(x.dtype)


@guarded(twin=affine_ops, smaller=smaller_affines)
def affine_kernel(
    a: mx.array | None,
    a_scale: mx.array | None,
    x: mx.array,
    center: mx.array,
    x_scale: mx.array,
    shift: mx.array,
) -> mx.array:
    """`affine` by kernel: what it reads, it reads once."""
    n, voxels, c = x.shape
    vector = 4 if c % 4 == 0 else 1
    return launch.launch(
        "channel_affine",
        inputs={
            "a": x if a is None else a,
            "a_scale": x_scale if a_scale is None else a_scale,
            "x": x,
            "center": center,
            "x_scale": x_scale,
            "shift": shift,
        },
        template={"T": x.dtype, "VEC": vector, "ROWS": ROWS, "TWO": a is not None},
        threads=(c // vector, -(-voxels // ROWS), n),
        shape=x.shape,
        dtype=x.dtype,
    )
