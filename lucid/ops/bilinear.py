"""A convolution and its two gradients, made each other's derivatives.

With T(x, w, dy) = sum of conv(x, w) * dy, linear in each, the convolution is dT/d(dy),
the input gradient dT/dx and the weight gradient dT/dw. Each takes two of the three
arrays, and its own derivative with respect to either is again one of them: three
functions are closed under differentiation, to any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lucid.geometry import ConvGeometry
from lucid.ops.derivative import with_vjp
import mlx.core as mx


class Formulation(NamedTuple):
    """Three functions that compute one way; arrays are channels-last, (N, D, H, W, C).

    The weight is (O, C/groups, KD, KH, KW), the bias (O,) or None.
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
) -> mx.array:
    """The convolution of x by one formulation, differentiable to any order."""

    def forward(x: mx.array, w: mx.array, *b: mx.array) -> mx.array:
        return formulation.forward(x, w, b[0] if b else None, geometry)

    def forward_vjp(arrays: Any, dy: mx.array) -> tuple[mx.array, ...]:
        x, w, *b = arrays
        bias_gradients = (_bias_gradient(dy) for _ in b)
        return input_gradient(dy, w), weight_gradient(x, dy), *bias_gradients

    def input_gradient(dy: mx.array, w: mx.array) -> mx.array:
        def gradient(dy: mx.array, w: mx.array) -> mx.array:
            return formulation.input_gradient(dy, w, geometry)

        return with_vjp(gradient, input_gradient_vjp)(dy, w)

    def input_gradient_vjp(arrays: Any, x: mx.array) -> tuple[mx.array, mx.array]:
        dy, w = arrays
        return convolve(x, w), weight_gradient(x, dy)

    def weight_gradient(x: mx.array, dy: mx.array) -> mx.array:
        def gradient(x: mx.array, dy: mx.array) -> mx.array:
            return formulation.weight_gradient(x, dy, geometry)

        return with_vjp(gradient, weight_gradient_vjp)(x, dy)

    def weight_gradient_vjp(arrays: Any, w: mx.array) -> tuple[mx.array, mx.array]:
        x, dy = arrays
        return input_gradient(dy, w), convolve(x, w)

    def convolve(*arrays: mx.array) -> mx.array:
        return with_vjp(forward, forward_vjp)(*arrays)

    return convolve(x, weight) if bias is None else convolve(x, weight, bias)


def _bias_gradient(dy: mx.array) -> mx.array:
    """The sum over batch and voxels; MLX would sum half types in half precision."""
    return dy.astype(mx.float32).sum(axis=(0, 1, 2, 3)).astype(dy.dtype)
