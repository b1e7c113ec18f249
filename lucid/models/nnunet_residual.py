"""nnU-Net's residual blocks (ResNet-D, He et al. 2019, https://arxiv.org/abs/1812.01187)."""

from __future__ import annotations

from lucid import nn
from lucid._types import Size3d, Tensor
from lucid.layout import add
from lucid.models.nnunet_blocks import ConvDropoutNormReLU, Ingredients, as_triple


class _Residual(nn.Module):
    """What a subclass convolves, and the input, pooled and projected, added to it."""

    def _skip(
        self,
        made_of: Ingredients,
        input_channels: int,
        output_channels: int,
        stride: Size3d,
    ) -> nn.Module:
        """Average pooling where the size changes, a 1x1x1 where the channels do."""
        layers: list[nn.Module] = []
        strides = as_triple(stride)
        if strides != (1, 1, 1):
            layers.append(nn.AvgPool3d(strides, strides))
        if input_channels != output_channels:
            plain = made_of.without("dropout_op", "nonlin", "conv_bias")
            layers.append(
                ConvDropoutNormReLU(plain, input_channels, output_channels, 1)
            )
        return nn.Sequential(*layers) if layers else nn.Identity()


class BasicBlockD(_Residual):
    """A residual block of two convolutions, for `ResidualEncoderUNet`.

    Args:
        made_of: the kinds of layers of the network.
        input_channels: channels of the input.
        bottleneck_channels: not used.
        output_channels: channels of the output.
        kernel_size: of both convolutions.
        stride: of the first one.
    """

    def __init__(
        self,
        made_of: Ingredients,
        input_channels: int,
        bottleneck_channels: int | None,
        output_channels: int,
        kernel_size: Size3d,
        stride: Size3d,
    ):
        super().__init__()
        channels = output_channels
        last = made_of.without("dropout_op", "nonlin")
        self.conv1 = ConvDropoutNormReLU(
            made_of, input_channels, channels, kernel_size, stride
        )
        self.conv2 = ConvDropoutNormReLU(last, channels, channels, kernel_size)
        self.nonlin2 = made_of.activation()
        self.skip = self._skip(made_of, input_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return self.nonlin2(add(y, self.skip(x)))


class BottleneckD(_Residual):
    """A residual block of a convolution between two 1x1x1 convolutions.

    Args:
        made_of: the kinds of layers of the network.
        input_channels: channels of the input.
        bottleneck_channels: channels of the convolution in the middle.
        output_channels: channels of the output.
        kernel_size: of the convolution in the middle.
        stride: likewise.
    """

    def __init__(
        self,
        made_of: Ingredients,
        input_channels: int,
        bottleneck_channels: int | None,
        output_channels: int,
        kernel_size: Size3d,
        stride: Size3d,
    ):
        super().__init__()
        if bottleneck_channels is None:
            raise ValueError("`bottleneck_channels` is needed for BottleneckD.")
        narrow, ends = bottleneck_channels, made_of.without("dropout_op")
        last = ends.without("nonlin")
        self.conv1 = ConvDropoutNormReLU(ends, input_channels, narrow, 1)
        self.conv2 = ConvDropoutNormReLU(made_of, narrow, narrow, kernel_size, stride)
        self.conv3 = ConvDropoutNormReLU(last, narrow, output_channels, 1)
        self.nonlin3 = made_of.activation()
        self.skip = self._skip(made_of, input_channels, output_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(self.conv2(self.conv1(x)))
        return self.nonlin3(add(y, self.skip(x)))


class StackedResidualBlocks(nn.Module):
    """Residual blocks in a row, of which the first may have a stride."""

    def __init__(
        self,
        made_of: Ingredients,
        block: type[BasicBlockD] | type[BottleneckD],
        n_blocks: int,
        input_channels: int,
        bottleneck_channels: int | None,
        output_channels: int,
        kernel_size: Size3d,
        initial_stride: Size3d,
    ):
        super().__init__()
        blocks = [
            block(
                made_of,
                output_channels if i else input_channels,
                bottleneck_channels,
                output_channels,
                kernel_size,
                1 if i else initial_stride,
            )
            for i in range(n_blocks)
        ]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)
