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
from lucid.ops.composed import conv3d_columns, conv3d_native, in_float32
from lucid.ops.gathered import conv3d_gathered
from lucid.ops.grid import GRID
from lucid.ops.winograd import WINOGRAD
from lucid.plain import is_plain
import mlx.core as mx

# Bytes of all K slices of the input: up to SMALL the number of operations is what
# costs, above LARGE copying the slices is. Measured with MKL.
SMALL, MEDIUM, LARGE = 2**18, 4 * 2**20, 96 * 2**20


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

    Ratios are of the time of forward and backward, to `columns` unless said otherwise.
    """
    one = (1, 1, 1)
    dense = geometry.groups == 1
    slices = 4 * geometry.batch * geometry.in_channels * math.prod(geometry.kernel_size)
    slices *= math.prod(geometry.output_size)
    if geometry.batch == 0 or geometry.kernel_size == one:
        return "columns"  # an empty batch, which mx.conv3d refuses, or one product
    if slices <= SMALL:
        return "gathered"  # 1.5 to 3.5 times faster: 5 operations for 30 and more
    # One channel a group: columns would be K numbers deep, a poor matrix product.
    depthwise = geometry.in_channels == geometry.groups
    few = geometry.out_channels <= 4 * geometry.groups
    if depthwise and few and slices > MEDIUM and not is_plain():
        return "grid"  # 1.3 to 3.5 times faster, K times less memory
    many = geometry.in_channels >= 16  # fewer, and slices cost less than patches
    if dense and many and geometry.stride == geometry.dilation == one:
        # Strided or dilated, mx.conv3d runs in naive loops, 2 to 20 times slower.
        if slices > LARGE and _fits_winograd(geometry) and not is_plain():
            return "winograd"  # 1.2 to 2.4 times faster than mx.conv3d
        return "native"  # 1.1 to 1.6 times faster
    return "columns"


def _fits_winograd(geometry: ConvGeometry) -> bool:
    """Three taps along the depth, four output planes a tile, few of them wasted."""
    depth = geometry.output_size[0]
    reach = zip(geometry.kernel_size, geometry.padding, strict=True)
    return (
        geometry.kernel_size[0] == 3
        and -depth % 4 <= depth / 2
        and all(max(sides) < k for k, sides in reach)
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
    "columns": conv3d_columns,
    "gathered": conv3d_gathered,
    "native": conv3d_native,
    "grid": _padded_first(GRID),
    "winograd": _padded_first(WINOGRAD),
}
