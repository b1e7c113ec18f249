"""Convolutions that MLX differentiates by itself, and so transforms in every way.

They have the fewest operations, which is what small volumes want, and are all there is
inside `lucid.plain_operations`.
"""

from __future__ import annotations

import itertools
import math

from lucid.geometry import ConvGeometry
from lucid.ops.conv import Formulation, add_bias
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


def _fits_mlx(geometry: ConvGeometry) -> bool:
    """What mx.conv3d takes: one group, a batch, no voxels left over by a stride.

    Its second derivatives are wrong where there are such voxels.
    """
    steps = zip(geometry.padded_size, geometry.span, geometry.stride, strict=True)
    exact = all((size - span) % stride == 0 for size, span, stride in steps)
    return geometry.groups == 1 and geometry.batch > 0 and exact


def by_mlx(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """mx.conv3d: channels-last, one group, zero padding alike on both sides."""
    symmetric = all(before == after for before, after in geometry.padding)
    depth, height, width = (before for before, _ in geometry.padding)
    if geometry.padding_mode != "zeros" or not symmetric:
        x = pad(x, [*geometry.padding, (0, 0)], geometry.padding_mode)
        depth = height = width = 0
    y = mx.conv3d(
        x,
        weight.transpose(0, 2, 3, 4, 1),  # (O, KD, KH, KW, C)
        stride=geometry.stride,
        padding=(depth, height, width),
        dilation=geometry.dilation,
    )
    return y if bias is None else add_bias(y, bias, channel_axis=-1)


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
    fits=_fits_mlx,
    channels_last=True,
    every_mode=True,
    plain=True,
)
