"""Which formulation computes a convolution, on which device, for which geometry."""

from __future__ import annotations

from lucid import _device
from lucid.geometry import ConvGeometry
from lucid.ops.composed import conv3d_columns, conv3d_native
import mlx.core as mx


def conv3d(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """Choose by geometry and by the device in force when called."""
    on_gpu = _device.on_gpu()
    # MLX's conv3d has one group, and its gradients fail for an empty batch.
    native_can = geometry.groups == 1 and geometry.batch > 0
    if on_gpu and native_can:
        return conv3d_native(x, weight, bias, geometry)
    # Half types compute in float32, so that a sum over the kernel is rounded once.
    dtype = x.dtype
    x, weight = x.astype(mx.float32), weight.astype(mx.float32)
    bias = None if bias is None else bias.astype(mx.float32)
    native_wins = native_can and not on_gpu and _native_wins_on_cpu(geometry)
    formulation = conv3d_native if native_wins else conv3d_columns
    return formulation(x, weight, bias, geometry).astype(dtype)


def _native_wins_on_cpu(geometry: ConvGeometry) -> bool:
    """Whether MLX's conv3d trains faster than columns of slices, as measured with MKL.

    It runs in naive loops for dilation and for strided input gradients, and copies a
    patch for each output voxel and tap in its weight gradient: columns win 1.3 to 15
    times there, and where there are few input channels. With 16 or more, its im2col in
    C++ beats slices that operations copy, 1.1 to 1.6 times.
    """
    one = (1, 1, 1)
    return (
        geometry.stride == geometry.dilation == one
        and geometry.kernel_size != one
        and geometry.in_channels >= 16
    )
