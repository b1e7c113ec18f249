"""nnU-Net's building blocks of plain convolutions, and what names a layer there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

from lucid import nn
from lucid._types import Size3d, Tensor, shown
from lucid.models.monai_blocks import convolution

LayerLike = str | Callable[..., nn.Module]
"""A class of Lucid's, or PyTorch's name of it: "torch.nn.InstanceNorm3d"."""


def layer_class(argument: str, layer: LayerLike | None) -> Any:
    """The class of Lucid's that a name of PyTorch's stands for; None stays None."""
    if not isinstance(layer, str):
        return layer
    found = getattr(nn, layer.rpartition(".")[2], None)
    if not isinstance(found, type):
        raise ValueError(
            f"`{argument}` (={shown(layer)}) is no layer of lucid.nn; Lucid's are for "
            "volumes (Conv3d, InstanceNorm3d, LeakyReLU)."
        )
    return found


@dataclasses.dataclass(frozen=True)
class Ingredients:
    """What every block of one network is made of, as nnU-Net's constructors take it."""

    conv_op: Any
    conv_bias: bool
    norm_op: Any
    norm_op_kwargs: Mapping[str, Any]
    dropout_op: Any
    dropout_op_kwargs: Mapping[str, Any]
    nonlin: Any
    nonlin_kwargs: Mapping[str, Any]
    nonlin_first: bool = False

    @classmethod
    def of(
        cls,
        conv_op: LayerLike,
        conv_bias: bool,
        norm_op: LayerLike | None,
        norm_op_kwargs: Mapping[str, Any] | None,
        dropout_op: LayerLike | None,
        dropout_op_kwargs: Mapping[str, Any] | None,
        nonlin: LayerLike | None,
        nonlin_kwargs: Mapping[str, Any] | None,
        nonlin_first: bool = False,
    ) -> Ingredients:
        conv = layer_class("conv_op", conv_op)
        if not (isinstance(conv, type) and issubclass(conv, nn.Conv3d)):
            raise ValueError(f"`conv_op` (={shown(conv_op)}) must be Conv3d.")
        return cls(
            conv,
            conv_bias,
            layer_class("norm_op", norm_op),
            norm_op_kwargs or {},
            layer_class("dropout_op", dropout_op),
            dropout_op_kwargs or {},
            layer_class("nonlin", nonlin),
            nonlin_kwargs or {},
            nonlin_first,
        )

    def conv(
        self, in_channels: int | None, out_channels: int, *args: Any, **kwargs: Any
    ) -> nn.Module:
        if in_channels is None and self.conv_op is nn.Conv3d:
            return convolution(None, out_channels, *args, **kwargs)
        return self.conv_op(in_channels, out_channels, *args, **kwargs)

    def activation(self) -> nn.Module:
        if self.nonlin is None:
            return nn.Identity()
        return self.nonlin(**self.nonlin_kwargs)

    def without(self, *what: str) -> Ingredients:
        """The same, these left out: "dropout_op", "nonlin", "conv_bias"."""
        none = {name: False if name == "conv_bias" else None for name in what}
        return dataclasses.replace(self, **none)


class ConvDropoutNormReLU(nn.Module):
    """A convolution that keeps the size, dropout, a normalization, an activation.

    Each layer stands under its name and in `all_modules`, as in nnU-Net.
    """

    def __init__(
        self,
        made_of: Ingredients,
        input_channels: int | None,
        output_channels: int,
        kernel_size: Size3d,
        stride: Size3d = 1,
    ):
        super().__init__()
        kernel = as_triple(kernel_size)
        self.conv = made_of.conv(
            input_channels,
            output_channels,
            kernel,
            as_triple(stride),
            padding=tuple((k - 1) // 2 for k in kernel),
            bias=made_of.conv_bias,
        )
        layers = [self.conv]
        if made_of.dropout_op is not None:
            self.dropout = made_of.dropout_op(**made_of.dropout_op_kwargs)
            layers.append(self.dropout)
        if made_of.norm_op is not None:
            self.norm = made_of.norm_op(output_channels, **made_of.norm_op_kwargs)
            layers.append(self.norm)
        if made_of.nonlin is not None:
            self.nonlin = made_of.activation()
            layers.append(self.nonlin)
            if made_of.nonlin_first and made_of.norm_op is not None:
                layers[-2:] = layers[:-3:-1]
        self.all_modules = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.all_modules(x)


class StackedConvBlocks(nn.Module):
    """Convolutions in a row, of which the first may have a stride."""

    def __init__(
        self,
        made_of: Ingredients,
        num_convs: int,
        input_channels: int | None,
        output_channels: int,
        kernel_size: Size3d,
        initial_stride: Size3d = 1,
    ):
        super().__init__()
        blocks = [
            ConvDropoutNormReLU(
                made_of,
                output_channels if i else input_channels,
                output_channels,
                kernel_size,
                1 if i else initial_stride,
            )
            for i in range(num_convs)
        ]
        self.convs = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


def as_triple(value: Any) -> tuple[int, int, int]:
    """An int or a sequence of three, as plans have them."""
    d, h, w = value if isinstance(value, Sequence) else (value,) * 3
    return d, h, w
