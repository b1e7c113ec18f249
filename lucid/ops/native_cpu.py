"""MLX's conv3d on the CPU: its products have BLAS's best orientation.

Stride and dilation are 1, groups are one, padding is with zeros and less than the
kernel; arrays are channels-first. MLX copies K patches of the input, or of the output
gradient for the input's. The weight gradient is that of `ops.grid`, which copies KW.
"""

from __future__ import annotations

from lucid.geometry import ConvGeometry
from lucid.ops import grid
from lucid.ops.bilinear import Formulation
import mlx.core as mx


def forward(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """One call of mx.conv3d, whose result is seen channels-first."""
    w = weight.transpose(0, 2, 3, 4, 1)  # (O, KD, KH, KW, C)
    y = _correlate(x, w, list(geometry.padding), flip=False)
    # Before the transpose back: a two-array operation on the NCDHW view would copy it.
    y = y if bias is None else y + bias
    return y.transpose(0, 4, 1, 2, 3)


def input_gradient(dy: mx.array, weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """The same of dy, with the taps the other way round."""
    w = weight.transpose(1, 2, 3, 4, 0)  # (C, KD, KH, KW, O)
    sides = [
        (k - 1 - before, k - 1 - after)
        for k, (before, after) in zip(
            geometry.kernel_size, geometry.padding, strict=True
        )
    ]
    return _correlate(dy, w, sides, flip=True).transpose(0, 4, 1, 2, 3)


def _correlate(
    x: mx.array, weight: mx.array, sides: list[tuple[int, int]], flip: bool
) -> mx.array:
    """(N, D, H, W, O); MLX takes the padding before and after each axis."""
    before, after = zip(*sides, strict=True)
    x = x.transpose(0, 2, 3, 4, 1)
    return mx.conv_general(x, weight, padding=(before, after), flip=flip)


NATIVE_CPU = Formulation(forward, input_gradient, grid.weight_gradient)
