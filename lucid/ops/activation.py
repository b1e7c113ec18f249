"""Activations with derivatives in fewer passes than MLX's own take."""

from __future__ import annotations

from typing import Any

from lucid._device import is_plain
from lucid.ops.derivative import with_derivatives
import mlx.core as mx


def leaky_relu(x: mx.array, negative_slope: float) -> mx.array:
    """x where x > 0, else negative_slope * x."""

    def forward(x: mx.array) -> mx.array:
        if negative_slope == 0:
            return mx.maximum(x, 0)  # not 0 * inf
        choose = mx.maximum if negative_slope <= 1 else mx.minimum
        return choose(x, negative_slope * x)

    def times_slope(x: mx.array, dy: mx.array) -> mx.array:
        if 0 <= negative_slope <= 1:
            return dy * mx.maximum(mx.sign(x), negative_slope)
        return dy * mx.where(x > 0, 1, negative_slope).astype(x.dtype)

    def vjp(x: mx.array, dy: mx.array, y: mx.array) -> mx.array:
        # The output is kept anyway, by the layer after; unless a slope is negative it
        # has the input's sign, and the input can go.
        return times_slope(y if negative_slope >= 0 else x, dy)

    if is_plain():
        return forward(x)
    return with_derivatives(forward, vjp, times_slope, of_output=True)(x)


def prelu(x: mx.array, weight: mx.array) -> mx.array:
    """x where x > 0, else weight * x; the weight broadcasts against x."""

    def forward(x: mx.array, weight: mx.array) -> mx.array:
        # A minimum's gradient at 0 goes to its second argument: x counts as negative.
        return mx.maximum(x, 0.0) + weight * mx.minimum(0.0, x)

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, mx.array]:
        x, weight = arguments
        positive = (x > 0).astype(x.dtype)
        dw = _summed_to(dy * mx.minimum(0.0, x), weight.shape)
        return dy * (weight + (1 - weight) * positive), dw

    def jvp(arguments: Any, tangents: Any) -> mx.array:
        x, weight = arguments
        dx, dw = (
            mx.zeros_like(a) if t is None else t
            for a, t in zip(arguments, tangents, strict=True)
        )
        return dx * mx.where(x > 0, 1, weight) + dw * mx.minimum(0.0, x)

    if is_plain():
        return forward(x, weight)
    return with_derivatives(forward, vjp, jvp)(x, weight)


def _summed_to(x: mx.array, shape: tuple[int, ...]) -> mx.array:
    """The sum over the axes along which `shape` was broadcast."""
    axes = [i for i in range(x.ndim) if shape[i] != x.shape[i]]
    return x.sum(axis=axes, keepdims=True) if axes else x
