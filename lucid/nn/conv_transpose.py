"""Transposed convolution layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lucid._types import (
    DeviceLike,
    DTypeLike,
    Size3d,
    Tensor,
    flag,
    integer,
    one_of,
    positive,
    shown,
    triple,
)
from lucid.geometry import (
    PADDING_MODES,
    Triple,
    check_groups,
    check_output_padding,
)
from lucid.nn import functional as F
from lucid.nn._layer import Layer, Shapes
from lucid.nn._lazy import LazyModule
from lucid.nn._module import Parameter
from lucid.nn.conv import Conv3d
from lucid.nn.functional.conv import channels_of
from lucid.nn.functional.conv_transpose import conv_transpose3d_geometry


class ConvTranspose3d(Layer):
    """3-D transposed convolution: each voxel spreads its kernel over the output.

    With a kernel and a stride of 2 it doubles every size, as the decoders of U-Nets do.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: an int, or (depth, height, width).
        stride: step between the kernels of neighboring voxels, in output voxels.
        padding: output voxels removed on both sides of each axis.
        output_padding: output voxels added at the end of each axis; less than the
            stride or the dilation.
        groups: how many blocks of channels are convolved separately; divides both
            channel counts.
        bias: whether to add a learned number to each output channel.
        dilation: step between kernel taps, in output voxels.
        padding_mode: 'zeros', as in PyTorch.
        device: as in `Conv3d`.
        dtype: as in `Conv3d`.

    Attributes:
        weight (Parameter): (in_channels, out_channels / groups, KD, KH, KW), drawn from
            U(-b, b), b = 1 / sqrt(out_channels / groups * KD * KH * KW), as in PyTorch.
        bias (Parameter | None): (out_channels,), drawn from the same interval.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: (N, O, OD, OH, OW) or (O, OD, OH, OW); sizes as in
          `F.conv_transpose3d`

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a value that is out of range or does not fit the others; at the
            call, a shape that does not fit the layer.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> up = nn.ConvTranspose3d(8, 4, kernel_size=2, stride=2)
        >>> up(lucid.zeros(2, 8, 4, 5, 6)).shape
        (2, 4, 8, 10, 12)
        >>> down = nn.Conv3d(4, 8, 3, stride=2, padding=1)
        >>> up = nn.ConvTranspose3d(8, 4, 3, stride=2, padding=1)
        >>> x = lucid.zeros(1, 4, 8, 9, 10)
        >>> up(down(x), output_size=x.shape).shape
        (1, 4, 8, 9, 10)
    """

    weight: Parameter  # of a lazy layer, None until its first call
    bias: Parameter | None
    in_channels: int | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size3d,
        stride: Size3d = 1,
        padding: Size3d = 0,
        output_padding: Size3d = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size3d = 1,
        padding_mode: str = "zeros",
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ):
        super().__init__()
        if one_of("padding_mode", padding_mode, PADDING_MODES) != "zeros":
            raise ValueError(
                f"`padding_mode` (={shown(padding_mode)}) must be 'zeros' for a "
                "transposed convolution."
            )
        self.in_channels = self._size("in_channels", in_channels)
        self.out_channels = positive("out_channels", out_channels)
        self.kernel_size = triple("kernel_size", kernel_size, minimum=1)
        self.stride = triple("stride", stride, minimum=1)
        self.padding = triple("padding", padding, minimum=0)
        self.dilation = triple("dilation", dilation, minimum=1)
        self.output_padding = check_output_padding(
            output_padding, self.stride, self.dilation
        )
        self.groups = positive("groups", groups)
        check_groups(self.groups, "out_channels", self.out_channels)
        if self.in_channels is not None:
            check_groups(self.groups, "in_channels", self.in_channels)
        self._has_bias = flag("bias", bias)
        if not self._has_bias:
            self.bias = None
        self.padding_mode = padding_mode
        self._create_arrays(device, dtype)

    def parameter_shapes(self) -> Shapes:
        """The shape of each parameter, None where it depends on the input."""
        per_group = self.out_channels // self.groups
        shapes: Shapes = {"weight": (self.in_channels, per_group, *self.kernel_size)}
        if self._has_bias:
            shapes["bias"] = (self.out_channels,)
        return shapes

    reset_parameters = Conv3d.reset_parameters  # fan_in is weight.shape[1:], too

    def infer(
        self, input: Tensor, output_size: Sequence[int] | None = None
    ) -> dict[str, int]:
        """The channels of a first input, once all else about it is right."""
        channels = channels_of(input)
        check_groups(self.groups, "in_channels", channels)
        conv_transpose3d_geometry(
            input,
            (channels, self.out_channels // self.groups, *self.kernel_size),
            self["weight"].dtype,
            stride=self.stride,
            padding=self.padding,
            output_padding=self._output_padding(input, output_size),
            dilation=self.dilation,
            groups=self.groups,
        )
        return {"in_channels": channels}

    def sizes_from(self, values: Mapping[str, Tensor]) -> dict[str, int] | None:
        """The input channels, if the weight is among these arrays."""
        if "weight" not in values:
            return None
        return {"in_channels": values["weight"].shape[0]}

    def forward(
        self, input: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        """Spread `input`, (N, C, D, H, W) or (C, D, H, W).

        Args:
            input: the volumes.
            output_size: size of the output, (OD, OH, OW) or a whole shape, instead of
                `output_padding`.
        """
        output_padding = self._output_padding(input, output_size)
        with self._on_device():
            return F.conv_transpose3d(
                input,
                self.weight,
                self.bias,
                self.stride,
                self.padding,
                output_padding,
                self.groups,
                self.dilation,
            )

    def _output_padding(
        self, input: Tensor, output_size: Sequence[int] | None
    ) -> Triple:
        """The outputs more that make the asked size."""
        if output_size is None:
            return self.output_padding
        channels_of(input)
        if not isinstance(output_size, tuple | list):
            raise TypeError(f"`output_size` (={shown(output_size)}) must be 3 ints.")
        if len(output_size) not in (3, input.ndim):
            raise ValueError(
                f"`output_size` (={shown(output_size)}) must have 3 or {input.ndim} "
                "entries."
            )
        asked = [integer("output_size", size) for size in output_size[-3:]]
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                *(input.shape[-3:], self.stride, self.padding),
                *(self.dilation, self.kernel_size),
                strict=True,
            )
        ]
        most = [size + s - 1 for size, s in zip(least, self.stride, strict=True)]
        if not all(a <= n <= b for a, n, b in zip(least, asked, most, strict=True)):
            raise ValueError(
                f"`output_size` (={shown(asked)}) must be from {least} to {most} for "
                f"an input of shape {input.shape}."
            )
        depth, height, width = (n - a for n, a in zip(asked, least, strict=True))
        return depth, height, width

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
        if self.output_padding != (0, 0, 0):
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if "bias" not in self:
            text += ", bias=False"
        return text


class LazyConvTranspose3d(LazyModule, ConvTranspose3d):
    """A ConvTranspose3d that infers in_channels from the first input, or a state dict.

    As `LazyConv3d` is to `Conv3d`.

    Args:
        out_channels: channels of the output.
        kernel_size: an int, or (depth, height, width).
        stride: as in `ConvTranspose3d`.
        padding: as in `ConvTranspose3d`.
        output_padding: as in `ConvTranspose3d`.
        groups: as in `ConvTranspose3d`; whether it divides the input channels shows at
            the first call.
        bias: as in `ConvTranspose3d`.
        dilation: as in `ConvTranspose3d`.
        padding_mode: as in `ConvTranspose3d`.
        device: as in `Conv3d`.
        dtype: as in `Conv3d`.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> up = nn.LazyConvTranspose3d(4, kernel_size=2, stride=2)
        >>> up(lucid.zeros(2, 8, 4, 5, 6)).shape, up.in_channels
        ((2, 4, 8, 10, 12), 8)
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: Size3d,
        stride: Size3d = 1,
        padding: Size3d = 0,
        output_padding: Size3d = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size3d = 1,
        padding_mode: str = "zeros",
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ):
        super().__init__(
            0,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,
            dilation=dilation,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
