"""MONAI's SegResNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucid import nn
from lucid._types import Tensor, shown
from lucid.layout import add
from lucid.models.monai_blocks import Convolution, Named, activation_layer, norm_layer
from lucid.models.unet import check_spatial_dims


class SegResNet(nn.Module):
    """A network for segmentation: a large residual encoder and a small decoder.

    MONAI's network after Myronenko (2018), https://arxiv.org/abs/1810.11654, without
    the variational autoencoder.

    Args:
        spatial_dims: 3.
        init_filters: channels of the first convolution; each level doubles them.
        in_channels: channels of the input; None to infer them from the first input.
        out_channels: channels of the output.
        dropout_prob: dropout of channels after the first convolution; None for none.
        act: the activation: a name, or a name and a dict of arguments.
        norm: the normalization, likewise.
        norm_name: 'group' for a group norm of `num_groups`; deprecated in MONAI.
        num_groups: groups for `norm_name`.
        use_conv_final: whether to end with a normalization, an activation and a
            convolution to `out_channels`.
        blocks_down: residual blocks of each level down.
        blocks_up: residual blocks of each level up.
        upsample_mode: 'nontrainable' (trilinear) or 'deconv' (transposed convolution).

    Shape:
        - input: (N, C, D, H, W), sizes divisible by 2 ** (len(blocks_down) - 1)
        - output: (N, out_channels, D, H, W)

    State dict:
        MONAI 1.6's names and shapes: `down_layers.0.1.conv1.conv.weight`.

    Raises:
        ValueError: an argument that is out of range.

    Example:
        >>> import lucid
        >>> from lucid.models import SegResNet
        >>> net = SegResNet(in_channels=None, out_channels=2, blocks_down=(1, 1, 1),
        ...                 blocks_up=(1, 1))
        >>> net(lucid.zeros(1, 4, 8, 8, 8)).shape
        (1, 2, 8, 8, 8)
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        init_filters: int = 8,
        in_channels: int | None = 1,
        out_channels: int = 2,
        dropout_prob: float | None = None,
        act: Named = ("RELU", {"inplace": True}),
        norm: Named = ("GROUP", {"num_groups": 8}),
        norm_name: str = "",
        num_groups: int = 8,
        use_conv_final: bool = True,
        blocks_down: Sequence[int] = (1, 2, 2, 4),
        blocks_up: Sequence[int] = (1, 1, 1),
        upsample_mode: str = "nontrainable",
    ):
        super().__init__()
        check_spatial_dims(spatial_dims)
        if norm_name:
            if norm_name.lower() != "group":
                raise ValueError(f"`norm_name` (={shown(norm_name)}) must be 'group'.")
            norm = ("group", {"num_groups": num_groups})
        self.use_conv_final = use_conv_final
        self.act_mod = activation_layer(act)
        self.convInit = _conv(in_channels, init_filters)
        self.down_layers = nn.ModuleList()
        for i, count in enumerate(blocks_down):
            filters = init_filters * 2**i
            first = _conv(filters // 2, filters, stride=2) if i else nn.Identity()
            blocks = (ResBlock(filters, norm, act) for _ in range(count))
            self.down_layers.append(nn.Sequential(first, *blocks))
        self.up_layers, self.up_samples = nn.ModuleList(), nn.ModuleList()
        for i, count in enumerate(blocks_up):
            filters = init_filters * 2 ** (len(blocks_up) - i - 1)
            blocks = (ResBlock(filters, norm, act) for _ in range(count))
            self.up_layers.append(nn.Sequential(*blocks))
            up = nn.Sequential(
                _conv(2 * filters, filters, kernel_size=1),
                _upsampling(filters, upsample_mode),
            )
            self.up_samples.append(up)
        self.conv_final = nn.Sequential(
            norm_layer(norm, init_filters),
            self.act_mod,
            _conv(init_filters, out_channels, kernel_size=1, bias=True),
        )
        self.dropout_prob = dropout_prob
        if dropout_prob is not None:
            self.dropout = nn.Dropout3d(dropout_prob)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The lowest level's output, and every level's, the top one first."""
        x = self.convInit(x)
        if self.dropout_prob is not None:
            x = self.dropout(x)
        levels = []
        for down in self.down_layers:
            x = down(x)
            levels.append(x)
        return x, levels

    def decode(self, x: Tensor, down_x: list[Tensor]) -> Tensor:
        """Up again; `down_x` holds every level's output, the lowest first."""
        for up, layer, skip in zip(
            self.up_samples, self.up_layers, down_x[1:], strict=False
        ):
            x = layer(add(up(x), skip))
        return self.conv_final(x) if self.use_conv_final else x

    def forward(self, x: Tensor) -> Tensor:
        x, levels = self.encode(x)
        return self.decode(x, levels[::-1])


class ResBlock(nn.Module):
    """Two convolutions, each after a normalization and an activation, and the input."""

    def __init__(self, channels: int, norm: Named, act: Named):
        super().__init__()
        self.norm1 = norm_layer(norm, channels)
        self.norm2 = norm_layer(norm, channels)
        self.act = activation_layer(act)
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.act(self.norm1(x)))
        y = self.conv2(self.act(self.norm2(y)))
        return add(y, x)


def _conv(
    in_channels: int | None,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    bias: bool = False,
) -> nn.Module:
    return Convolution(
        in_channels,
        out_channels,
        strides=stride,
        kernel_size=kernel_size,
        bias=bias,
        conv_only=True,
    )


def _upsampling(channels: int, mode: str) -> nn.Module:
    """Twice the size, under MONAI's name for it."""
    layers: dict[str, Any] = {
        "deconv": lambda: nn.ConvTranspose3d(channels, channels, 2, 2),
        "nontrainable": lambda: nn.Upsample(
            scale_factor=2, mode="trilinear", align_corners=False
        ),
    }
    if mode not in layers:
        raise ValueError(
            f"`upsample_mode` (={shown(mode)}) must be one of {tuple(layers)}."
        )
    name = {"deconv": "deconv", "nontrainable": "upsample_non_trainable"}[mode]
    return nn.Sequential({name: layers[mode]()})
