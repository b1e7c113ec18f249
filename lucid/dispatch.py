"""Which formulation computes a call: by the device in force, then by geometry.

`lucid.metal.choice` chooses on a GPU, `_native_wins_on_cpu` on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from lucid import _device
from lucid.geometry import ConvGeometry
from lucid.metal import convolve
from lucid.ops import padding
from lucid.ops.composed import conv3d_columns, conv3d_native, in_float32
import mlx.core as mx


def conv3d(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """(N, C, D, H, W) -> (N, O, OD, OH, OW)."""
    if _device.on_gpu():
        return convolve.conv3d(x, weight, bias, geometry)
    formulation = conv3d_native if _native_wins_on_cpu(geometry) else conv3d_columns
    return in_float32(formulation, x, weight, bias, geometry)


def pad(
    x: mx.array, sides: Sequence[tuple[int, int]], mode: str, value: float = 0.0
) -> mx.array:
    """Pad the last `len(sides)` axes of `x` by (before, after) voxels each."""
    if _device.on_gpu():
        return convolve.pad(x, sides, mode, value)
    return padding.pad(x, sides, mode, value)


def _native_wins_on_cpu(geometry: ConvGeometry) -> bool:
    """Whether MLX's conv3d trains faster than columns of slices, as measured with MKL.

    It runs in naive loops for dilation and for strided input gradients, and copies a
    patch for each output voxel and tap in its weight gradient: columns win 1.3 to 15
    times there, and where there are few input channels. With 16 or more, its im2col in
    C++ beats slices that operations copy, 1.1 to 1.6 times. It has one group, and its
    gradients fail for an empty batch.
    """
    one = (1, 1, 1)
    return (
        geometry.groups == 1
        and geometry.batch > 0
        and geometry.stride == geometry.dilation == one
        and geometry.kernel_size != one
        and geometry.in_channels >= 16
    )
