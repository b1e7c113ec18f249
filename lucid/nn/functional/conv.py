"""Convolution: arguments checked here, computed in `lucid.ops`."""

from __future__ import annotations

from lucid import choice
from lucid import geometry as geo
from lucid._types import (
    PaddingMode,
    Size3d,
    Tensor,
    check_array,
    check_float_dtype,
    dtype_name,
    positive,
    triple,
)
import mlx.core as mx


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size3d = 1,
    padding: Size3d | str = 0,
    dilation: Size3d = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
) -> Tensor:
    """Convolve volumes with a bank of 3-D kernels (cross-correlation, as in PyTorch).

    Args:
        input: volumes, float32, float16 or bfloat16.
        weight: kernels of the same dtype.
        bias: one number for each output channel, of the same dtype.
        stride: step between outputs, in voxels.
        padding: voxels added on both sides of each axis, or 'valid' (none), or 'same'
            (keeps the size; an odd voxel is added at the end; needs stride 1).
        dilation: step between kernel taps, in voxels.
        groups: how many blocks of channels are convolved separately.
        padding_mode: 'zeros', 'reflect', 'replicate' or 'circular'.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - weight: (O, C / groups, KD, KH, KW)
        - bias: (O,)
        - output: (N, O, OD, OH, OW) or (O, OD, OH, OW), with
          OD = floor((D + 2 * padding - dilation * (KD - 1) - 1) / stride) + 1
          and likewise OH, OW (the formula of PyTorch's Conv3d)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together; the message names the argument.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> x = lucid.ones(1, 2, 4, 4, 4)
        >>> w = lucid.ones(3, 2, 3, 3, 3)
        >>> F.conv3d(x, w, padding=1).shape
        (1, 3, 4, 4, 4)
    """
    check_array("weight", weight)
    geometry = conv3d_geometry(
        input,
        weight.shape,
        weight.dtype,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )
    if bias is not None:
        check_bias(bias, geometry.out_channels, weight)
    if input.ndim == 5:
        return choice.conv3d(input, weight, bias, geometry)
    return choice.conv3d(input[None], weight, bias, geometry)[0]


def conv3d_geometry(
    input: Tensor,
    weight_shape: tuple[int, ...],
    weight_dtype: mx.Dtype,
    *,
    stride: Size3d,
    padding: Size3d | str,
    dilation: Size3d,
    groups: int,
    padding_mode: str,
) -> geo.ConvGeometry:
    """Everything about a call that can be refused, refused; no weight needed yet."""
    check_dtypes(input, weight_dtype)
    stride = triple("stride", stride, minimum=1)
    return geo.conv_geometry(
        input.shape if input.ndim == 5 else (1, *input.shape),
        weight_shape,
        stride=stride,
        padding=geo.check_padding(padding, stride),
        dilation=triple("dilation", dilation, minimum=1),
        groups=positive("groups", groups),
        padding_mode=geo.check_padding_mode(padding_mode),
    )


def check_dtypes(input: Tensor, weight_dtype: mx.Dtype) -> None:
    """Refuse an input that is no volume, and dtypes other than one of the three."""
    channels_of(input)
    check_float_dtype("weight", weight_dtype)
    if input.dtype != weight_dtype:
        check_float_dtype("input", input.dtype)
        raise TypeError(
            f"`input` (={dtype_name(input.dtype)}) must have the dtype of `weight` "
            f"(={dtype_name(weight_dtype)})."
        )


def channels_of(input: Tensor) -> int:
    """C of (N, C, D, H, W) or (C, D, H, W).

    Raises:
        TypeError: if `input` is not an array.
        ValueError: if it is neither 5-D nor 4-D.
    """
    check_array("input", input)
    if input.ndim not in (4, 5):
        raise ValueError(
            "`input` must be 5-D (N, C, D, H, W) or 4-D (C, D, H, W), "
            f"got shape {input.shape}."
        )
    return input.shape[-4]


def check_bias(bias: Tensor, out_channels: int, weight: Tensor) -> None:
    """Refuse a bias that is not one number of the weight's dtype for each output."""
    check_array("bias", bias)
    if bias.shape != (out_channels,):
        raise ValueError(f"`bias` must have shape ({out_channels},), got {bias.shape}.")
    if bias.dtype != weight.dtype:
        raise TypeError(
            f"`bias` (={dtype_name(bias.dtype)}) must have the dtype of `weight` "
            f"(={dtype_name(weight.dtype)})."
        )
