"""Convolutions that MLX differentiates by itself, and so transforms in every way.

They have the fewest operations, which is what small volumes want, and are all there is
inside `lucid.plain_operations`.
"""

from __future__ import annotations

import itertools
import math

from lucid.geometry import ConvGeometry
from lucid.ops.bias import add_bias
from lucid.ops.conv import Formulation
from lucid.ops.padding import pad
import mlx.core as mx

# The largest block of columns. Measured on the shapes of the benchmark: the fewer
# blocks the better, up to what the C allocator maps anew each time it is asked.
COLUMNS_BYTES = 32 * 2**20


def by_columns(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """The weight times columns (im2col) of a part of the kernel at a time.

    The trailing kernel axes are stacked into columns and become one matrix product;
    the leading ones are accumulated over.
    """
    g, n, o = geometry.groups, geometry.batch, geometry.out_channels
    kernel, voxels = geometry.kernel_size, math.prod(geometry.output_size)
    per_group = geometry.in_channels // g
    padded = pad(x, geometry.padding, geometry.padding_mode)
    lead = _accumulated_axes(geometry)
    inner = math.prod(kernel[lead:])
    # (KD.., g, O/g, C/g * K..)
    matrix = weight.reshape(g, o // g, per_group, -1, inner)
    matrix = matrix.transpose(3, 0, 1, 2, 4).reshape(-1, g, o // g, per_group * inner)

    y = None
    for i, outer_tap in enumerate(itertools.product(*map(range, kernel[:lead]))):
        block = _columns(padded, outer_tap, geometry)
        block = block.reshape(n, g, per_group * inner, voxels)
        y = matrix[i] @ block if y is None else mx.addmm(y, matrix[i], block)
    assert y is not None
    y = y.reshape(geometry.output_shape)
    return y if bias is None else add_bias(y, bias, channel_axis=1)


def _columns(
    x: mx.array, outer_tap: tuple[int, ...], geometry: ConvGeometry
) -> mx.array:
    """The voxels that the taps after an outer one multiply: (N, C, K.., OD, OH, OW).

    One axis is stacked after the other: 9 slices for 27 taps, where the number of
    operations is what costs.
    """
    for axis, tap in enumerate(outer_tap):
        x = _taken(x, 2 + axis, axis, tap, geometry)
    lead = len(outer_tap)
    for axis in range(lead, 3):
        taps = range(geometry.kernel_size[axis])
        stacked = axis - lead  # kernel axes that x has by now
        slices = [_taken(x, 2 + stacked + axis, axis, tap, geometry) for tap in taps]
        x = slices[0] if len(slices) == 1 else mx.stack(slices, axis=2 + stacked)
        if len(slices) == 1:
            x = mx.expand_dims(x, 2 + stacked)
    return x


def _taken(
    x: mx.array, where: int, axis: int, tap: int, geometry: ConvGeometry
) -> mx.array:
    """The outputs' voxels for a tap along one axis of the volume, x's axis `where`."""
    start, step = tap * geometry.dilation[axis], geometry.stride[axis]
    stop = start + (geometry.output_size[axis] - 1) * step + 1
    if (start, stop, step) == (0, x.shape[where], 1):
        return x
    return x[(slice(None),) * where + (slice(start, stop, step),)]


def _accumulated_axes(geometry: ConvGeometry) -> int:
    """How many leading kernel axes to accumulate over, for a block within the cap."""
    voxels = geometry.batch * geometry.in_channels * math.prod(geometry.output_size)
    kernel = geometry.kernel_size
    for lead in (0, 1, 2):
        if 4 * voxels * math.prod(kernel[lead:]) <= COLUMNS_BYTES:
            return lead
    return 3


def by_mlx(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """mx.conv3d of each group, channels-last."""
    if geometry.padding_mode != "zeros":
        x = pad(x, [*geometry.padding, (0, 0)], geometry.padding_mode)
        geometry = geometry.without_padding
    x, padding = _without_leftover(x, geometry)
    weight = weight.transpose(0, 2, 3, 4, 1)  # (O, KD, KH, KW, C/g)
    options = (geometry.stride, padding, geometry.dilation)
    if geometry.groups == 1:
        y = mx.conv_general(x, weight, *options)
    else:
        parts = mx.split(x, geometry.groups, axis=-1)
        kernels = mx.split(weight, geometry.groups)
        pairs = zip(parts, kernels, strict=True)
        outputs = [mx.conv_general(*pair, *options) for pair in pairs]
        y = mx.concatenate(outputs, axis=-1)
    return y if bias is None else add_bias(y, bias, channel_axis=-1)


def _without_leftover(
    x: mx.array, geometry: ConvGeometry
) -> tuple[mx.array, tuple[list[int], list[int]]]:
    """x and its padding, so that a stride leaves no voxel over.

    Where it does, mx.conv3d's second derivatives are wrong.
    """
    before, after = map(list, zip(*geometry.padding, strict=True))
    if geometry.stride == (1, 1, 1):
        return x, (before, after)
    after = [
        (outputs - 1) * stride + span - before - size
        for outputs, stride, span, (before, _), size in zip(
            geometry.output_size,
            geometry.stride,
            geometry.span,
            geometry.padding,
            geometry.input_size,
            strict=True,
        )
    ]
    if min(after) < 0:
        sizes = zip(geometry.input_size, after, strict=True)
        x = x[(slice(None), *(slice(0, size + min(end, 0)) for size, end in sizes))]
    return x, (before, [max(end, 0) for end in after])


COLUMNS = Formulation.of(
    "columns",
    by_columns,
    temporaries="a copy of the input for every tap of the kernel; MLX's derivatives",
    every_mode=True,
    plain=True,
)
MLX_PLAIN = Formulation.of(
    "mx.conv3d, plain",
    by_mlx,
    temporaries="what MLX's derivatives copy: for each tap the input, or the output "
    "of a strided convolution",
    fits=lambda geometry: geometry.batch > 0,  # it has no gradients of none
    channels_last=True,
    every_mode=True,
    plain=True,
)
