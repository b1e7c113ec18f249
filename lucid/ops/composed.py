"""3-D convolution as a composition of MLX operations.

Every function here takes x (N, C, D, H, W), weight (O, C/g, KD, KH, KW), bias (O,) or
None and a checked geometry, and returns (N, O, OD, OH, OW).
"""

from __future__ import annotations

from collections.abc import Callable
import itertools
import math

from lucid.geometry import ConvGeometry
from lucid.ops.padding import pad
import mlx.core as mx

# The largest block of stacked columns. Measured on the shapes of the benchmark: the
# fewer blocks the better, up to what the C allocator maps anew each time it is asked.
COLUMNS_BYTES = 32 * 2**20


def in_float32(
    formulation: Callable[..., mx.array],
    x: mx.array,
    weight: mx.array,
    bias: mx.array | None,
    geometry: ConvGeometry,
) -> mx.array:
    """Half types computed in float32, so that a sum over the kernel is rounded once."""
    dtype = x.dtype
    x, weight = x.astype(mx.float32), weight.astype(mx.float32)
    bias = None if bias is None else bias.astype(mx.float32)
    return formulation(x, weight, bias, geometry).astype(dtype)


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


def conv3d_columns(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """Columns, a part of the kernel at a time, times the weight.

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
    if bias is not None:
        y = y + _spread(bias, geometry.output_shape)
    return y


def _columns(
    x: mx.array, outer_tap: tuple[int, ...], geometry: ConvGeometry
) -> mx.array:
    """The voxels that the taps from an outer one on multiply: (N, C, K.., OD, OH, OW).

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


def _spread(bias: mx.array, shape: tuple[int, ...]) -> mx.array:
    """The bias over a whole output, broadcast one axis at a time.

    Its gradient is then summed one axis at a time: 30 times closer to the exact sum
    than MLX's reduction over all four, and no slower.
    """
    grown = [1, shape[1], 1, 1, 1]
    bias = bias.reshape(grown)
    for axis in (0, 2, 3, 4):
        grown[axis] = shape[axis]
        bias = mx.broadcast_to(bias, grown)
    return bias


def _accumulated_axes(geometry: ConvGeometry) -> int:
    """How many leading kernel axes to accumulate over, for a block within the cap."""
    voxels = geometry.batch * geometry.in_channels * math.prod(geometry.output_size)
    kernel = geometry.kernel_size
    for lead in (0, 1, 2):
        if 4 * voxels * math.prod(kernel[lead:]) <= COLUMNS_BYTES:
            return lead
    return 3
