"""Transposed convolution: arguments checked here, computed in `lucid.ops`."""

from __future__ import annotations

from lucid import choice
from lucid import geometry as geo
from lucid._types import Size3d, Tensor, check_array, positive, triple
from lucid.nn.functional.conv import check_bias, check_dtypes
import mlx.core as mx


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size3d = 1,
    padding: Size3d = 0,
    output_padding: Size3d = 0,
    groups: int = 1,
    dilation: Size3d = 1,
) -> Tensor:
    """Transposed convolution: the gradient of `conv3d` with respect to its input.

    Each voxel adds its kernel to the output, one stride after its neighbor's.

    Args:
        input: volumes, float32, float16 or bfloat16.
        weight: kernels of the same dtype.
        bias: one number for each output channel, of the same dtype.
        stride: step between the kernels of neighboring voxels, in output voxels.
        padding: output voxels removed on both sides of each axis.
        output_padding: output voxels added at the end of each axis; less than the
            stride or the dilation. A strided convolution maps several sizes to one:
            this chooses among them.
        groups: how many blocks of channels are convolved separately.
        dilation: step between kernel taps, in output voxels.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - weight: (C, O / groups, KD, KH, KW)
        - bias: (O,)
        - output: (N, O, OD, OH, OW) or (O, OD, OH, OW), with OD = (D - 1) * stride
          - 2 * padding + dilation * (KD - 1) + output_padding + 1, likewise OH, OW

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together; the message names the argument.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> x = lucid.ones(1, 2, 4, 4, 4)
        >>> w = lucid.ones(2, 3, 2, 2, 2)
        >>> F.conv_transpose3d(x, w, stride=2).shape
        (1, 3, 8, 8, 8)
    """
    check_array("weight", weight)
    geometry = conv_transpose3d_geometry(
        input,
        weight.shape,
        weight.dtype,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
    )
    if bias is not None:
        check_bias(bias, geometry.in_channels, weight)
    x = input if input.ndim == 5 else input[None]
    # More than a stride after the last voxel: as if there were more voxels, all zero.
    missing = [
        (0, after - n)
        for n, after in zip(x.shape[2:], geometry.output_size, strict=True)
    ]
    x = choice.pad(x, missing, "zeros")
    y = choice.conv_transpose3d(x, weight, bias, geometry)
    return y if input.ndim == 5 else y[0]


def conv_transpose3d_geometry(
    input: Tensor,
    weight_shape: tuple[int, ...],
    weight_dtype: mx.Dtype,
    *,
    stride: Size3d,
    padding: Size3d,
    output_padding: Size3d,
    dilation: Size3d,
    groups: int,
) -> geo.ConvGeometry:
    """All that can be refused, refused; of the convolution whose transpose it is."""
    check_dtypes(input, weight_dtype)
    stride = triple("stride", stride, minimum=1)
    dilation = triple("dilation", dilation, minimum=1)
    return geo.conv_transpose_geometry(
        input.shape if input.ndim == 5 else (1, *input.shape),
        weight_shape,
        stride,
        triple("padding", padding, minimum=0),
        geo.check_output_padding(output_padding, stride, dilation),
        dilation,
        positive("groups", groups),
    )
