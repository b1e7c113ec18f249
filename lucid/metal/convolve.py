"""Convolution and padding on a GPU, by the path that was chosen."""

from __future__ import annotations

from collections.abc import Sequence

from lucid._types import FLOAT_DTYPES
from lucid.geometry import ConvGeometry
from lucid.metal import padding as padding_kernels
from lucid.metal.choice import choose, enabled
from lucid.metal.conv import KERNELS
from lucid.ops import bilinear, composed, padding
from lucid.ops.native import NATIVE, NATIVE_BY_GROUP
import mlx.core as mx

FORMULATIONS = {
    "kernels": KERNELS,
    "mx.conv3d": NATIVE,
    "mx.conv3d by group": NATIVE_BY_GROUP,
}


def conv3d(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """(N, C, D, H, W) -> (N, O, OD, OH, OW), a view of channels-last memory."""
    path = choose(geometry, kernels=enabled()).path
    if path == "columns":
        return composed.in_float32(composed.conv3d_columns, x, weight, bias, geometry)
    if path == "mx.conv3d, plain":
        return composed.conv3d_native(x, weight, bias, geometry)
    x = x.transpose(0, 2, 3, 4, 1)
    if path == "matmul":
        y = _matmul(x, weight, bias, geometry)
    else:
        if path != "kernels" and geometry.padding_mode != "zeros":
            x = padding_kernels.pad(x, geometry.padding, geometry.padding_mode)
            geometry = geometry.without_padding
        y = bilinear.conv3d(
            FORMULATIONS[path], x, weight, bias, geometry, channel_axis=-1
        )
    return y.transpose(0, 4, 1, 2, 3)


def _matmul(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    d, h, w = geometry.stride
    if geometry.stride != (1, 1, 1):
        x = x[:, ::d, ::h, ::w]
    matrix = weight.reshape(geometry.out_channels, geometry.in_channels).T
    rows = x.reshape(-1, geometry.in_channels)
    y = rows @ matrix if bias is None else mx.addmm(bias, rows, matrix)
    return y.reshape(*x.shape[:-1], -1)


def pad(
    x: mx.array, sides: Sequence[tuple[int, int]], mode: str, value: mx.array
) -> mx.array:
    """`lucid.ops.padding.pad`, in one pass where a kernel can: up to three axes."""
    by_kernel = (
        mode != "zeros"
        and any(map(any, sides))
        and len(sides) <= 3
        and x.size > 0
        and x.dtype in FLOAT_DTYPES
        and enabled()
    )
    if not by_kernel:
        return padding.pad(x, sides, mode, value)
    none = (0, 0)
    first, second, third = [none] * (3 - len(sides)) + list(sides)
    three = (first, second, third)
    if x.ndim == 5:  # volumes, channels-last in memory as convolutions leave them
        last = padding_kernels.pad(x.transpose(0, 2, 3, 4, 1), three, mode)
        return last.transpose(0, 4, 1, 2, 3)
    lead, size = x.shape[: x.ndim - len(sides)], x.shape[x.ndim - len(sides) :]
    rows = x.reshape(-1, *[1] * (3 - len(sides)), *size, 1)
    padded = padding_kernels.pad(rows, three, mode)
    return padded.reshape(*lead, *padded.shape[4 - len(sides) : 4])
