"""Normalization: the statistics of volumes, and what is made of them.

An array is (N, C, V), or (N, V, C) where memory is channels-last; `voxels` is the axis
of V. Sums are taken of each channel of each volume, (N, C), and then pooled over what
shares its statistics: nothing, all volumes (batch norm), the channels of a group.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

from lucid._device import is_plain
from lucid.ops.derivative import with_derivatives, with_vjp_of_outputs
import mlx.core as mx

# A first guess of a mean is that of one voxel in GUESSED. However the voxels lie, the
# true one is then less than sqrt(GUESSED) standard deviations away.
GUESSED = 8
# How many sums of voxels are taken at once.
MOST_SIDE_BY_SIDE, FEWEST_SIDE_BY_SIDE = 256, 8


@dataclass(frozen=True)
class Shared:
    """What shares its statistics: all volumes or not, and how many channels."""

    volumes: bool = False
    channels: int = 1

    def pool(self, t: mx.array) -> mx.array:
        """(N, C) -> (N, C): for each, the sum over all that share its statistics."""
        n, c = t.shape
        if self.volumes:
            return mx.broadcast_to(t.sum(0, keepdims=True), (n, c))
        if self.channels == 1:
            return t
        t = t.reshape(n, c // self.channels, self.channels)
        return mx.broadcast_to(t.sum(2, keepdims=True), t.shape).reshape(n, c)

    def count(self, n: int) -> int:
        """How many of the (N, C) share their statistics."""
        return n if self.volumes else self.channels


def normalize(
    x: mx.array,
    weight: mx.array,
    bias: mx.array,
    eps: float,
    shared: Shared,
    voxels: int,
) -> tuple[mx.array, mx.array, mx.array]:
    """(x - mean) / sqrt(variance + eps) * weight + bias.

    Args:
        x: (N, C, V) or (N, V, C), float32, not empty.
        weight: (C,).
        bias: (C,).
        eps: added to the variance.
        shared: what shares its statistics.
        voxels: the axis of V.

    Returns:
        The normalized array, and mean and variance (of n, not n - 1), each (N, C).
    """
    # No squares of a large mean: they would cost all digits of a small variance.
    guess = mx.stop_gradient(_guess(x, shared, voxels))
    centered = x - mx.expand_dims(guess, voxels)
    y, offset, variance = _normalize_centered(
        centered, weight, bias, eps, shared, voxels
    )
    return y, guess + offset, variance


def _normalize_centered(
    x: mx.array,
    weight: mx.array,
    bias: mx.array,
    eps: float,
    shared: Shared,
    voxels: int,
) -> tuple[mx.array, ...]:
    """`normalize`, of an array whose means are near 0.

    The gradient takes the statistics from the forward pass and keeps no array but `x`.
    """
    count = shared.count(x.shape[0]) * x.shape[voxels]

    def spread(t: mx.array) -> mx.array:
        return mx.expand_dims(t, voxels)

    def forward(x: mx.array, weight: mx.array, bias: mx.array) -> tuple[mx.array, ...]:
        mean = shared.pool(total(x, voxels)) / count
        variance = shared.pool(total(mx.square(x), voxels)) / count - mean * mean
        variance = mx.maximum(variance, 0)
        scale = weight * mx.rsqrt(variance + eps)
        return x * spread(scale) + spread(bias - mean * scale), mean, variance

    def vjp(arguments: Any, cotangents: Any, outputs: Any) -> tuple[mx.array, ...]:
        (x, weight, _), (_, mean, variance) = arguments, outputs
        dy, dmean, dvariance = cotangents
        r = mx.rsqrt(variance + eps)
        dbias = total(dy, voxels)
        dscale = dot(dy, x, voxels) - mean * dbias
        scale = weight * r
        # dx = scale * dy - slope * (x - mean) + constant
        slope = shared.pool(r * r * scale * dscale - 2 * dvariance) / count
        constant = shared.pool(dmean - scale * dbias) / count
        dx = spread(constant + mean * slope) - x * spread(slope) + dy * spread(scale)
        return dx, (r * dscale).sum(0), dbias.sum(0)

    function = forward if is_plain() else with_vjp_of_outputs(forward, vjp)
    return function(x, weight, bias)


def scale_and_shift(
    x: mx.array, scale: mx.array, shift: mx.array, voxels: int
) -> mx.array:
    """x * scale + shift, both (C,), of an array (N, C, V) or (N, V, C)."""

    def forward(x: mx.array, scale: mx.array, shift: mx.array) -> mx.array:
        per_channel = (1, -1, 1) if voxels == 2 else (1, 1, -1)
        return x * scale.reshape(per_channel) + shift.reshape(per_channel)

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, ...]:
        x, scale, _ = arguments
        dx = dy * scale.reshape((1, -1, 1) if voxels == 2 else (1, 1, -1))
        return dx, dot(dy, x, voxels).sum(0), total(dy, voxels).sum(0)

    function = forward if is_plain() else with_derivatives(forward, vjp)
    return function(x, scale, shift)


def total(x: mx.array, voxels: int) -> mx.array:
    """The sum over V: (N, C).

    Where the voxels of a channel lie together, MLX's own on a CPU is a single chain of
    additions. Sums of many side by side are faster and closer to the exact sum, and so,
    if less, is a product.
    """
    if voxels == 1:
        return x.sum(1)
    n, c, v = x.shape
    side_by_side = math.gcd(v, MOST_SIDE_BY_SIDE)
    if side_by_side < FEWEST_SIDE_BY_SIDE:
        return (x @ mx.ones((v, 1), x.dtype))[:, :, 0]
    return x.reshape(n, c, v // side_by_side, side_by_side).sum(2).sum(2)


def dot(x: mx.array, y: mx.array, voxels: int) -> mx.array:
    """The sum of products over V: (N, C)."""
    if voxels == 1:
        return (x * y).sum(1)
    return (x[:, :, None] @ y[:, :, :, None])[:, :, 0, 0]


def _guess(x: mx.array, shared: Shared, voxels: int) -> mx.array:
    """The mean of the first voxels of each channel, pooled: (N, C)."""
    few = max(1, x.shape[voxels] // GUESSED)
    part = x[:, :, :few] if voxels == 2 else x[:, :few]
    return shared.pool(total(part, voxels)) / (shared.count(x.shape[0]) * few)
