"""Which formulation computes a convolution, on which device, for which geometry."""

from __future__ import annotations

from lucid.geometry import ConvGeometry
from lucid.ops.composed import conv3d_columns
from lucid.ops.padding import pad
import mlx.core as mx


def conv3d(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """Choose by geometry and by the device in force when called."""
    on_gpu = mx.default_device().type == mx.gpu
    if on_gpu and geometry.groups == 1 and geometry.batch:
        return conv3d_native(x, weight, bias, geometry)
    # MLX's conv3d has no groups and its gradients no empty batch on any device; on the
    # CPU it falls into naive loops for dilation and for strided input gradients.
    return conv3d_columns(x, weight, bias, geometry)


def conv3d_native(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """MLX's own conv3d: channels-last, one group, zero padding alike on both sides."""
    symmetric = all(before == after for before, after in geometry.padding)
    depth, height, width = (before for before, _ in geometry.padding)
    if geometry.padding_mode != "zeros" or not symmetric:
        x = pad(x, geometry.padding, geometry.padding_mode)
        depth = height = width = 0
    y = mx.conv3d(
        x.transpose(0, 2, 3, 4, 1),  # (N, D, H, W, C)
        weight.transpose(0, 2, 3, 4, 1),  # (O, KD, KH, KW, C)
        stride=geometry.stride,
        padding=(depth, height, width),
        dilation=geometry.dilation,
    )
    # Before the transpose back: a two-array operation on the NCDHW view would copy it.
    if bias is not None:
        y = y + bias
    return y.transpose(0, 4, 1, 2, 3)
