"""What computes a convolution: a formulation, differentiable to any order.

With T(x, w, dy) = sum of conv(x, w) * dy, linear in each, the convolution is dT/d(dy),
the input gradient dT/dx and the weight gradient dT/dw. Each takes two of the three
arrays, and its own derivative with respect to either is again one of them: three
functions are closed under differentiation, to any order. Transposed convolution is the
input gradient, called for its own sake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import functools
import math
from typing import Any

from lucid import _cpu
from lucid.geometry import ConvGeometry
from lucid.layout import channels_first, channels_last, contiguous, in_order
from lucid.ops.bias import add_bias, aligned, bias_gradient
from lucid.ops.conv_fold import Fold
from lucid.ops.derivative import with_derivatives
import mlx.core as mx


@dataclass(frozen=True)
class Formulation:
    """One way to compute a convolution and its two gradients.

    Args:
        name: what `lucid.metal.explain` calls it.
        forward: of (x, weight, bias or None, geometry).
        input_gradient: of (dy, weight, geometry).
        weight_gradient: of (x, dy, geometry).
        temporaries: what it holds beside its arrays, in words.
        fits: whether it can compute a geometry; everything, unless it says otherwise.
        channels_last: whether x and dy are (N, D, H, W, C), or (N, C, D, H, W). The
            weight is (O, C/groups, KD, KH, KW) for all, the bias (O,).
        every_mode: whether it takes every padding mode; otherwise x is padded
            beforehand, and it sees padding with zeros alone.
        takes_half: whether it takes half types and rounds once; otherwise it is given
            float32.
        plain: whether MLX differentiates `forward` by itself, so that every
            transformation of MLX's takes it.
        plain_transpose: whether it differentiates `input_gradient` as well as can be.
        weight_order: of the weight's axes in memory, if its kernels have one.
        fold: how it is given fewer voxels of more channels instead, if it is.
    """

    name: str
    forward: Callable[[mx.array, mx.array, mx.array | None, ConvGeometry], mx.array]
    input_gradient: Callable[[mx.array, mx.array, ConvGeometry], mx.array]
    weight_gradient: Callable[[mx.array, mx.array, ConvGeometry], mx.array]
    temporaries: str
    fits: Callable[[ConvGeometry], bool] = lambda geometry: True
    channels_last: bool = False
    every_mode: bool = False
    takes_half: bool = False
    plain: bool = False
    plain_transpose: bool = False
    weight_order: tuple[int, ...] | None = None
    fold: Fold | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def channel_axis(self) -> int:
        return -1 if self.channels_last else 1

    @classmethod
    def of(
        cls,
        name: str,
        forward: Callable[
            [mx.array, mx.array, mx.array | None, ConvGeometry], mx.array
        ],
        *,
        temporaries: str,
        fits: Callable[[ConvGeometry], bool] = lambda geometry: True,
        channels_last: bool = False,
        every_mode: bool = False,
        takes_half: bool = False,
        plain: bool = False,
    ) -> Formulation:
        """A forward made of MLX operations, with MLX's derivatives of it."""

        def input_gradient(
            dy: mx.array, weight: mx.array, geometry: ConvGeometry
        ) -> mx.array:
            n, c, *size = geometry.input_shape
            x = mx.zeros((n, *size, c) if channels_last else (n, c, *size), dy.dtype)
            return mx.vjp(lambda x: forward(x, weight, None, geometry), [x], [dy])[1][0]

        def weight_gradient(
            x: mx.array, dy: mx.array, geometry: ConvGeometry
        ) -> mx.array:
            w = mx.zeros(geometry.weight_shape, x.dtype)
            return mx.vjp(lambda w: forward(x, w, None, geometry), [w], [dy])[1][0]

        return cls(
            name,
            forward,
            input_gradient,
            weight_gradient,
            temporaries=temporaries,
            fits=fits,
            channels_last=channels_last,
            every_mode=every_mode,
            takes_half=takes_half,
            plain=plain,
        )


def conv3d(
    formulation: Formulation,
    x: mx.array,
    weight: mx.array,
    bias: mx.array | None,
    geometry: ConvGeometry,
) -> mx.array:
    """(N, C, D, H, W) -> (N, O, OD, OH, OW)."""
    dtype = x.dtype
    x, weight, bias = _as_taken(formulation, x, weight, bias)
    fold = formulation.fold
    if fold is not None:
        x, weight = fold.volumes(x, geometry), fold.weight(weight)
        geometry = fold.geometry(geometry)
    x = _contiguous(formulation, x)
    if formulation.plain:
        y = formulation.forward(x, weight, bias, geometry)
    else:
        arrays = (x, weight) if bias is None else (x, weight, bias)
        y = _Differentiable(formulation, geometry).forward(*arrays)
    return _as_given(formulation, y, dtype)


def conv_transpose3d(
    formulation: Formulation,
    x: mx.array,
    weight: mx.array,
    bias: mx.array | None,
    geometry: ConvGeometry,
    plain: bool = False,
) -> mx.array:
    """The input gradient as an operation: (N, O, OD, OH, OW) -> (N, C, D, H, W).

    `geometry` is that of the convolution from C to O channels whose input gradient this
    is, padded with zeros; the weight is (O, C/groups, KD, KH, KW), the bias (C,).
    `plain` leaves the derivatives to MLX, where the formulation is plain.
    """
    dtype, unfolded, fold = x.dtype, geometry, formulation.fold
    x, weight, bias = _as_taken(formulation, x, weight, bias)
    x = _contiguous(formulation, x)
    if fold is not None:
        weight, geometry = fold.weight(weight), fold.geometry(geometry)
    plain = formulation.plain_transpose or (plain and formulation.plain)
    # MLX's second derivative of a product of nothing never ends.
    if plain and geometry.batch:
        y = formulation.input_gradient(x, weight, geometry)
    else:
        y = _Differentiable(formulation, geometry).input_gradient(x, weight)
    if fold is not None:
        y = fold.back(y, unfolded)
    if bias is not None:
        y = add_bias(y, bias, formulation.channel_axis)
    return _as_given(formulation, y, dtype)


def widened(
    formulation: Formulation, x: mx.array, weight: mx.array, bias: mx.array | None
) -> tuple[mx.array, mx.array, mx.array | None]:
    """In float32 where a formulation takes no half types, so that sums round once."""
    if formulation.takes_half or x.dtype == mx.float32:
        return x, weight, bias
    x, weight = x.astype(mx.float32), weight.astype(mx.float32)
    return x, weight, None if bias is None else bias.astype(mx.float32)


def _as_taken(
    formulation: Formulation, x: mx.array, weight: mx.array, bias: mx.array | None
) -> tuple[mx.array, mx.array, mx.array | None]:
    """The arrays of a call in the dtype and layout of a formulation."""
    x, weight, bias = widened(formulation, x, weight, bias)
    if formulation.channels_last:
        x = channels_last(x)
    if formulation.weight_order is not None:
        weight = in_order(weight, formulation.weight_order)
    return x, weight, bias


def _contiguous(formulation: Formulation, volumes: mx.array) -> mx.array:
    """Without gaps, for every kernel and every derivative that reads them."""
    return contiguous(volumes) if formulation.channels_last else volumes


def _as_given(formulation: Formulation, y: mx.array, dtype: mx.Dtype) -> mx.array:
    """The result in the layout and dtype of the call."""
    if formulation.channels_last:
        y = channels_first(y)
    return y if y.dtype == dtype else y.astype(dtype)


class _Differentiable:
    """The three functions of a formulation, made each other's derivatives."""

    def __init__(self, formulation: Formulation, geometry: ConvGeometry) -> None:
        self.formulation = formulation
        self.geometry = geometry

    def forward(self, x: mx.array, w: mx.array, *b: mx.array) -> mx.array:
        axis = self.formulation.channel_axis

        def forward(x: mx.array, w: mx.array, *b: mx.array) -> mx.array:
            return self.formulation.forward(x, w, b[0] if b else None, self.geometry)

        def vjp(arrays: Any, dy: mx.array) -> tuple[mx.array, ...]:
            x, w, *b = arrays
            dy = _contiguous(self.formulation, dy)
            return (
                self.input_gradient(dy, w),
                self.weight_gradient(x, dy),
                *(bias_gradient(dy, axis) for _ in b),
            )

        def jvp(arrays: Any, tangents: Any) -> mx.array:
            dy = _tangent(self.forward, arrays[:2], tangents[:2])
            if len(tangents) < 3 or tangents[2] is None:
                return dy
            return dy + aligned(tangents[2], axis)

        return with_derivatives(forward, vjp, jvp)(x, w, *b)

    def input_gradient(self, dy: mx.array, w: mx.array) -> mx.array:
        def gradient(dy: mx.array, w: mx.array) -> mx.array:
            return self.formulation.input_gradient(dy, w, self.geometry)

        def vjp(arrays: Any, x: mx.array) -> tuple[mx.array, mx.array]:
            dy, w = arrays
            x = _contiguous(self.formulation, x)
            return self.forward(x, w), self.weight_gradient(x, dy)

        jvp = functools.partial(_tangent, self.input_gradient)
        return with_derivatives(gradient, vjp, jvp)(dy, w)

    def weight_gradient(self, x: mx.array, dy: mx.array) -> mx.array:
        def gradient(x: mx.array, dy: mx.array) -> mx.array:
            return self.formulation.weight_gradient(x, dy, self.geometry)

        def vjp(arrays: Any, w: mx.array) -> tuple[mx.array, mx.array]:
            x, dy = arrays
            return self.input_gradient(dy, w), self.forward(x, w)

        jvp = functools.partial(_tangent, self.weight_gradient)
        return with_derivatives(gradient, vjp, jvp)(x, dy)


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


def rows(array: mx.array, geometry: ConvGeometry) -> mx.array:
    """(N, C, ...) -> (N, g, C/g, voxels)."""
    n, c = array.shape[:2]
    g = geometry.groups
    return array.reshape(n, g, c // g, math.prod(array.shape[2:]))


def transposed(matrix: mx.array) -> mx.array:
    """The last two axes swapped, to stand on the right of a product.

    The reference BLAS takes twice as long where that is not a copy.
    """
    swapped = matrix.swapaxes(-1, -2)
    return mx.contiguous(swapped) if _cpu.is_reference_blas() else swapped
