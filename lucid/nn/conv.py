"""Convolution layers."""

from __future__ import annotations

from collections.abc import Mapping
import math

from lucid._types import (
    DeviceLike,
    DTypeLike,
    PaddingMode,
    Size3d,
    Tensor,
    flag,
    positive,
    triple,
)
from lucid.geometry import check_groups, check_padding, check_padding_mode
from lucid.nn import functional as F
from lucid.nn import init
from lucid.nn._layer import Layer, Shapes
from lucid.nn._lazy import LazyModule
from lucid.nn._module import Parameter
from lucid.nn.functional.conv import channels_of, conv3d_geometry


class Conv3d(Layer):
    """3-D convolution over volumes of several channels.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: an int, or (depth, height, width).
        stride: step between outputs, in voxels.
        padding: voxels added on both sides of each axis, or 'valid' (none), or 'same'
            (keeps the size; an odd voxel is added at the end; needs stride 1).
        dilation: step between kernel taps, in voxels.
        groups: how many blocks of channels are convolved separately; divides both
            channel counts. `groups=in_channels` is a depthwise convolution.
        bias: whether to add a learned number to each output channel.
        padding_mode: 'zeros', 'reflect', 'replicate' or 'circular'.
        device: 'cpu', 'gpu' (or 'metal'), an MLX device, or None for MLX's default when
            called. In unified memory it is where the layer runs.
        dtype: float32 (None), float16 or bfloat16; half types accumulate in float32.

    Attributes:
        weight (Parameter): (out_channels, in_channels / groups, KD, KH, KW), drawn from
            U(-b, b), b = 1 / sqrt(in_channels / groups * KD * KH * KW): He et al.'s
            (2015) uniform rule with a = sqrt(5), as PyTorch draws it.
        bias (Parameter | None): (out_channels,), drawn from the same interval.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: (N, O, OD, OH, OW) or (O, OD, OH, OW); sizes as in `F.conv3d`

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a value that is out of range or does not fit the others; at the
            call, a shape that does not fit the layer.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> conv = nn.Conv3d(4, 8, 3, padding=1, padding_mode="reflect")
        >>> conv(lucid.zeros(2, 4, 16, 32, 32)).shape
        (2, 8, 16, 32, 32)
    """

    weight: Parameter  # of a lazy layer, None until its first call
    bias: Parameter | None
    in_channels: int | None
    padding: tuple[int, int, int] | str
    padding_mode: PaddingMode

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size3d,
        stride: Size3d = 1,
        padding: Size3d | str = 0,
        dilation: Size3d = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ):
        super().__init__()
        self.in_channels = self._size("in_channels", in_channels)
        self.out_channels = positive("out_channels", out_channels)
        self.kernel_size = triple("kernel_size", kernel_size, minimum=1)
        self.stride = triple("stride", stride, minimum=1)
        self.padding = check_padding(padding, self.stride)
        self.dilation = triple("dilation", dilation, minimum=1)
        self.groups = positive("groups", groups)
        check_groups(self.groups, "out_channels", self.out_channels)
        if self.in_channels is not None:
            check_groups(self.groups, "in_channels", self.in_channels)
        self._has_bias = flag("bias", bias)
        if not self._has_bias:
            self.bias = None
        self.padding_mode = check_padding_mode(padding_mode)
        self._create_arrays(device, dtype)

    def parameter_shapes(self) -> Shapes:
        """The shape of each parameter, None where it depends on the input."""
        channels = self.in_channels
        per_group = None if channels is None else channels // self.groups
        shapes: Shapes = {"weight": (self.out_channels, per_group, *self.kernel_size)}
        if self._has_bias:
            shapes["bias"] = (self.out_channels,)
        return shapes

    def reset_parameters(self) -> None:
        """Redraw weight and bias."""
        self._allocate()  # new arrays: nobody else's are overwritten
        with self._on_device():
            init.kaiming_uniform_(self.weight, a=math.sqrt(5))
            if self.bias is not None:
                fan_in = math.prod(self.weight.shape[1:])
                init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def infer(self, input: Tensor) -> dict[str, int]:
        """The channels of a first input, once all else about it is right."""
        channels = channels_of(input)
        conv3d_geometry(
            input,
            (self.out_channels, channels // self.groups, *self.kernel_size),
            self["weight"].dtype,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.padding_mode,
        )
        return {"in_channels": channels}

    def sizes_from(self, values: Mapping[str, Tensor]) -> dict[str, int] | None:
        """The input channels, if the weight is among these arrays."""
        if "weight" not in values:
            return None
        return {"in_channels": values["weight"].shape[1] * self.groups}

    def forward(self, input: Tensor) -> Tensor:
        """Convolve `input`, (N, C, D, H, W) or (C, D, H, W)."""
        with self._on_device():
            return F.conv3d(
                input,
                self.weight,
                self.bias,
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
                self.padding_mode,
            )

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults, as PyTorch shows them."""
        text = (
            f"{self.in_channels}, {self.out_channels}, "
            f"kernel_size={self.kernel_size}, stride={self.stride}"
        )
        if self.padding != (0, 0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if "bias" not in self:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class LazyConv3d(LazyModule, Conv3d):
    """A Conv3d that infers in_channels from the first input.

    The first call reads the channels from axis 1 of its input (axis 0 unbatched), draws
    the weights that `Conv3d` would draw from the same random state, and leaves them to
    be evaluated together with its output. Loading a state dict reads them from the
    weight instead. A first call or load that fails leaves the layer as it was.

    Until then `weight`, `bias` and `in_channels` are None. Casting, freezing and
    choosing a device already work, and are applied later; asking for
    `trainable_parameters()` or `state_dict()` raises `UninitializedParameterError`.

    Args:
        out_channels: channels of the output.
        kernel_size: an int, or (depth, height, width).
        stride: as in `Conv3d`.
        padding: as in `Conv3d`.
        dilation: as in `Conv3d`.
        groups: as in `Conv3d`; whether it divides the input channels shows at the
            first call.
        bias: as in `Conv3d`.
        padding_mode: as in `Conv3d`.
        device: as in `Conv3d`.
        dtype: as in `Conv3d`.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W), C inferred
        - output: (N, O, OD, OH, OW) or (O, OD, OH, OW), as `Conv3d`

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: as for `Conv3d`.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> lazy3d = nn.LazyConv3d(out_channels=32, kernel_size=3, padding=1)
        >>> print(lazy3d.in_channels, lazy3d.weight)
        None None
        >>> lazy3d(lucid.zeros(2, 4, 16, 32, 32)).shape
        (2, 32, 16, 32, 32)
        >>> lazy3d.in_channels, lazy3d.weight.shape
        (4, (32, 4, 3, 3, 3))
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: Size3d,
        stride: Size3d = 1,
        padding: Size3d | str = 0,
        dilation: Size3d = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ):
        super().__init__(
            0,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
