"""Which formulation computes a call: by the device in force, then by geometry.

`lucid.metal.choice` chooses on a GPU, `choose_on_cpu` on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math

from lucid import _device
from lucid._plain import is_plain
from lucid._types import LONGEST
from lucid.geometry import ConvGeometry
from lucid.metal import convolve
from lucid.ops import bilinear, padding
from lucid.ops.bilinear import Formulation
from lucid.ops.columns import COLUMNS
from lucid.ops.composed import COLUMNS_BYTES, conv3d_columns, conv3d_native, in_float32
from lucid.ops.grid import GRID, grid_of
from lucid.ops.native_cpu import NATIVE_CPU
from lucid.ops.winograd import WINOGRAD
import mlx.core as mx

# Bytes of all K slices of the input: up to SMALL the number of operations is what
# costs, above LARGE the copies are; up to MEDIUM of what mx.conv3d copies, it is no
# worse than our own for few channels too. Measured with MKL.
SMALL, MEDIUM, LARGE = 2 * 2**20, 8 * 2**20, 96 * 2**20


def conv3d(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """(N, C, D, H, W) -> (N, O, OD, OH, OW)."""
    if _device.on_gpu():
        return convolve.conv3d(x, weight, bias, geometry)
    return in_float32(_CPU[choose_on_cpu(geometry)], x, weight, bias, geometry)


def pad(
    x: mx.array, sides: Sequence[tuple[int, int]], mode: str, value: mx.array
) -> mx.array:
    """Pad the last `len(sides)` axes of `x` by (before, after) voxels each."""
    if _device.on_gpu():
        return convolve.pad(x, sides, mode, value)
    return padding.pad(x, sides, mode, value)


def choose_on_cpu(geometry: ConvGeometry) -> str:
    """The formulation that trains fastest on a CPU, as measured with MKL.

    Ratios are of the time of forward and backward.
    """
    one = (1, 1, 1)
    unit = geometry.groups == 1 and geometry.stride == geometry.dilation == one
    slices = 4 * geometry.batch * geometry.in_channels * math.prod(geometry.kernel_size)
    slices *= math.prod(geometry.output_size)
    if geometry.kernel_size == one or slices <= SMALL:  # no batch is small too
        return "plain"  # the fewest operations
    if geometry.padding_mode != "zeros":
        geometry = geometry.without_padding  # it is padded beforehand
    if is_plain() or not _fits_grid(geometry):
        return "plain native" if unit and geometry.in_channels >= 16 else "plain"
    if unit and slices > LARGE and _fits_winograd(geometry):
        return "winograd"  # 1.2 to 2.4 times faster than mx.conv3d
    within = _pads_within_kernel(geometry)
    # For the gradient of the input, mx.conv3d copies K slices of the output's.
    patches = slices * max(1, geometry.out_channels / geometry.in_channels)
    many = geometry.in_channels >= 32 or patches <= MEDIUM
    if unit and within and many and slices <= LARGE:
        return "native"  # up to 1.4 times faster than the grid
    if within and _fits_columns(geometry):
        stride = math.prod(geometry.stride)
        # A tap reads one of `stride` phases, a grid each: few taps are not worth them.
        if stride > 1 and math.prod(geometry.kernel_size) <= 4 * stride:
            return "columns"  # 1.3 to 1.9 times faster than plain columns
        if _widens(geometry):  # 1.2 to 1.8 times faster than the grid
            # mx.conv3d copies all K slices; of one channel they are too thin for it.
            native = unit and geometry.in_channels > 1 and slices <= COLUMNS_BYTES
            return "native widening" if native else "widening"
    return "grid"  # 1.1 to 3.5 times faster than plain columns, in less memory


def _widens(geometry: ConvGeometry) -> bool:
    """Columns of few inputs cost less than a stack of many outputs; not depthwise."""
    g = geometry.groups
    c, o = geometry.in_channels // g, geometry.out_channels // g
    return o >= 4 * c and (g == 1 or o > 4)


def _fits_grid(geometry: ConvGeometry) -> bool:
    """Whether the flat grid is mostly outputs, and no longer than MLX can index."""
    positions, outputs = grid_of(geometry).positions, math.prod(geometry.output_size)
    channels = max(geometry.in_channels, geometry.out_channels)
    volumes = geometry.batch * channels * geometry.kernel_size[2] + 2
    return positions <= 2.5 * outputs and (volumes + 1) * positions <= LONGEST


def _fits_columns(geometry: ConvGeometry) -> bool:
    """Whether they are made for several planes at a time: a slab shares its border."""
    depth, *plane = geometry.output_size
    planes = min(depth, 4)
    columns = geometry.in_channels * math.prod(geometry.kernel_size) * planes
    return 4 * columns * math.prod(plane) <= COLUMNS_BYTES


def _pads_within_kernel(geometry: ConvGeometry) -> bool:
    """Whether every output's span meets the input, as columns and mx.conv3d need it."""
    reach = zip(geometry.span, geometry.padding, strict=True)
    return all(max(sides) < span for span, sides in reach)


def _fits_winograd(geometry: ConvGeometry) -> bool:
    """Three taps along the depth, four output planes a tile, few of them wasted."""
    depth = geometry.output_size[0]
    return (
        geometry.kernel_size[0] == 3
        and geometry.in_channels >= 16
        and -depth % 4 <= depth / 2
        and _pads_within_kernel(geometry)
    )


def _padded_first(formulation: Formulation) -> Callable[..., mx.array]:
    """A formulation that pads with zeros, for every mode."""

    def conv3d(
        x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
    ) -> mx.array:
        if geometry.padding_mode != "zeros":
            x = padding.pad(x, geometry.padding, geometry.padding_mode)
            geometry = geometry.without_padding
        return bilinear.conv3d(formulation, x, weight, bias, geometry, channel_axis=1)

    return conv3d


_CPU = {
    "plain": conv3d_columns,
    "plain native": conv3d_native,
    "native": _padded_first(NATIVE_CPU),
    "columns": _padded_first(COLUMNS),
    "grid": _padded_first(GRID),
    "native widening": _padded_first(
        Formulation(NATIVE_CPU.forward, COLUMNS.input_gradient, COLUMNS.weight_gradient)
    ),
    "widening": _padded_first(
        Formulation(GRID.forward, COLUMNS.input_gradient, COLUMNS.weight_gradient)
    ),
    "winograd": _padded_first(WINOGRAD),
}
