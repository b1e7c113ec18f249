"""A convolution and its two gradients, made each other's derivatives.

With T(x, w, dy) = sum of conv(x, w) * dy, linear in each, the convolution is dT/d(dy),
the input gradient dT/dx and the weight gradient dT/dw. Each takes two of the three
arrays, and its own derivative with respect to either is again one of them: three
functions are closed under differentiation, to any order.
"""

from __future__ import annotations

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

from lucid.geometry import ConvGeometry
from lucid.ops.derivative import with_derivatives
import mlx.core as mx


class Formulation(NamedTuple):
    """Three functions that compute one way, in a layout of their own.

    forward(x, w, b, geometry), input_gradient(dy, w, geometry) and
    weight_gradient(x, dy, geometry). The weight is (O, C/groups, KD, KH, KW), the bias
    (O,) or None; x and dy are channels-first or channels-last.
    """

    forward: Callable[[mx.array, mx.array, mx.array | None, ConvGeometry], mx.array]
    input_gradient: Callable[[mx.array, mx.array, ConvGeometry], mx.array]
    weight_gradient: Callable[[mx.array, mx.array, ConvGeometry], mx.array]


def conv3d(
    formulation: Formulation,
    x: mx.array,
    weight: mx.array,
    bias: mx.array | None,
    geometry: ConvGeometry,
    channel_axis: int,
) -> mx.array:
    """The convolution of x by one formulation, differentiable to any order.

    `channel_axis` is that of x and of the output: 1 or -1.
    """

    def convolve(x: mx.array, w: mx.array, *b: mx.array) -> mx.array:
        def vjp(arrays: Any, dy: mx.array) -> tuple[mx.array, ...]:
            x, w, *b = arrays
            bias_gradients = (_bias_gradient(dy, channel_axis) for _ in b)
            return input_gradient(dy, w), weight_gradient(x, dy), *bias_gradients

        def jvp(arrays: Any, tangents: Any) -> mx.array:
            dy = _tangent(convolve, arrays[:2], tangents[:2])
            if len(tangents) < 3 or tangents[2] is None:
                return dy
            return dy + _spread(tangents[2], channel_axis)

        def forward(x: mx.array, w: mx.array, *b: mx.array) -> mx.array:
            return formulation.forward(x, w, b[0] if b else None, geometry)

        return with_derivatives(forward, vjp, jvp)(x, w, *b)

    def input_gradient(dy: mx.array, w: mx.array) -> mx.array:
        def vjp(arrays: Any, x: mx.array) -> tuple[mx.array, mx.array]:
            dy, w = arrays
            return convolve(x, w), weight_gradient(x, dy)

        def gradient(dy: mx.array, w: mx.array) -> mx.array:
            return formulation.input_gradient(dy, w, geometry)

        jvp = functools.partial(_tangent, input_gradient)
        return with_derivatives(gradient, vjp, jvp)(dy, w)

    def weight_gradient(x: mx.array, dy: mx.array) -> mx.array:
        def vjp(arrays: Any, w: mx.array) -> tuple[mx.array, mx.array]:
            x, dy = arrays
            return input_gradient(dy, w), convolve(x, w)

        def gradient(x: mx.array, dy: mx.array) -> mx.array:
            return formulation.weight_gradient(x, dy, geometry)

        jvp = functools.partial(_tangent, weight_gradient)
        return with_derivatives(gradient, vjp, jvp)(x, dy)

    return convolve(x, weight) if bias is None else convolve(x, weight, bias)


def _tangent(
    function: Callable[[mx.array, mx.array], mx.array], arrays: Any, tangents: Any
) -> mx.array:
    """f(da, b) + f(a, db), for a bilinear f; a tangent that is None is zero."""
    (a, b), (da, db) = arrays, tangents
    parts = [function(da, b)] if da is not None else []
    parts += [function(a, db)] if db is not None else []
    if not parts:
        return mx.zeros_like(function(a, b))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _spread(bias: mx.array, channel_axis: int) -> mx.array:
    """The bias as it is added to an output."""
    return bias if channel_axis == -1 else bias.reshape(-1, 1, 1, 1)


def _bias_gradient(dy: mx.array, channel_axis: int) -> mx.array:
    """The sum over batch and voxels; MLX would sum half types in half precision.

    One axis after the other: MLX sums a single one most exactly on the CPU.
    """
    total = mx.moveaxis(dy.astype(mx.float32), channel_axis, 0)
    while total.ndim > 1:
        total = total.sum(axis=-1)
    return total.astype(dy.dtype)
