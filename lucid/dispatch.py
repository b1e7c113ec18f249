"""Which formulation computes a call: by the device in force, then by geometry.

`lucid.metal.choice` chooses on a GPU, `choose_on_cpu` on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math

from lucid import _device
from lucid.geometry import ConvGeometry
from lucid.metal import convolve
from lucid.ops import bilinear, padding
from lucid.ops.bilinear import Formulation
from lucid.ops.columns import COLUMNS
from lucid.ops.composed import conv3d_columns, conv3d_native, in_float32
from lucid.ops.grid import GRID
from lucid.ops.native_cpu import NATIVE_CPU
from lucid.ops.winograd import WINOGRAD
from lucid.plain import is_plain
import mlx.core as mx

# Bytes of all K slices of the input: up to SMALL the number of operations is what
# costs, above LARGE the copies are. Measured with MKL.
SMALL, MEDIUM, LARGE = 2 * 2**20, 8 * 2**20, 96 * 2**20


def conv3d(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """(N, C, D, H, W) -> (N, O, OD, OH, OW)."""
    if _device.on_gpu():
        return convolve.conv3d(x, weight, bias, geometry)
    return in_float32(_CPU[choose_on_cpu(geometry)], x, weight, bias, geometry)


def pad(
    x: mx.array, sides: Sequence[tuple[int, int]], mode: str, value: float = 0.0
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
    if geometry.batch == 0 or geometry.kernel_size == one or slices <= SMALL:
        return "plain"  # the fewest operations; mx.conv3d refuses an empty batch
    if is_plain():
        return "plain native" if unit and geometry.in_channels >= 16 else "plain"
    if unit and slices > LARGE and _fits_winograd(geometry):
        return "winograd"  # 1.2 to 2.4 times faster than mx.conv3d
    within = _pads_within_kernel(geometry)
    patches = slices * max(1, geometry.out_channels // geometry.in_channels)
    many = geometry.in_channels >= 32 or patches <= MEDIUM
    if unit and within and many and slices <= LARGE:
        return "native"  # up to 1.4 times faster than the grid
    stride = math.prod(geometry.stride)
    # A tap reads one of `stride` phases, a grid each: few taps are not worth them.
    if within and stride > 1 and math.prod(geometry.kernel_size) <= 4 * stride:
        return "columns"  # 1.3 to 1.9 times faster than plain columns
    c, o = (n // geometry.groups for n in (geometry.in_channels, geometry.out_channels))
    depthwise = c == 1 and o <= 4
    if within and o >= 2 * c and not depthwise:
        return "widening"  # columns of the narrow input cost less than its outputs
    return "grid"  # 1.3 to 3.5 times faster than plain columns, in less memory


def _pads_within_kernel(geometry: ConvGeometry) -> bool:
    """Whether every output reads a voxel; by other modes is padded beforehand."""
    if geometry.padding_mode != "zeros":
        return True
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
    "widening": _padded_first(
        Formulation(GRID.forward, COLUMNS.input_gradient, COLUMNS.weight_gradient)
    ),
    "winograd": _padded_first(WINOGRAD),
}
