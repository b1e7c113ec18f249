"""MONAI's building blocks: a convolution with normalization, dropout and activation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import inspect
import math
from typing import Any

from lucid import nn
from lucid._types import Size3d, Tensor, shown
from lucid.layout import add

Named = str | tuple[str, Mapping[str, Any]]
"""A layer's name, or its name and arguments: "prelu", ("group", {"num_groups": 8})."""

_NORMS = {
    "instance": nn.InstanceNorm3d,
    "batch": nn.BatchNorm3d,
    "group": nn.GroupNorm,
    "layer": nn.LayerNorm,
}
_ACTIVATIONS = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leakyrelu": nn.LeakyReLU,
    "logsoftmax": nn.LogSoftmax,
    "mish": nn.Mish,
    "prelu": nn.PReLU,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "softmax": nn.Softmax,
    "swish": nn.SiLU,
    "memswish": nn.SiLU,
    "tanh": nn.Tanh,
}
_DROPOUTS = {"dropout": nn.Dropout, "alphadropout": nn.AlphaDropout}


def norm_layer(norm: Named, channels: int) -> nn.Module:
    """A normalization of so many channels; no name is none."""
    return _layer("norm", norm, _NORMS, channels)


def activation_layer(act: Named) -> nn.Module:
    """An activation; no name is none."""
    return _layer("act", act, _ACTIVATIONS)


def dropout_layer(dropout: Named | float) -> nn.Module:
    """A dropout by its probability, or by name."""
    if isinstance(dropout, int | float):
        return nn.Dropout(float(dropout))
    return _layer("dropout", dropout, _DROPOUTS)


def _layer(
    argument: str, named: Named, kinds: Mapping[str, Any], channels: int | None = None
) -> nn.Module:
    if named == "":
        return nn.Identity()
    name, options = (named, {}) if isinstance(named, str) else named
    if str(name).lower() not in kinds:
        raise ValueError(
            f"`{argument}` (={shown(named)}) must be one of {', '.join(kinds)}, or one "
            "of these with a dict of arguments."
        )
    kind = kinds[name.lower()]
    accepted = inspect.signature(kind).parameters
    counts = {"num_features": channels, "num_channels": channels}
    known = {k: v for k, v in counts.items() if v is not None and k in accepted}
    return kind(**{**known, **options})


def same_padding(kernel_size: Size3d) -> tuple[int, ...]:
    """What keeps the size at stride 1, of odd kernels."""
    kernel = _triple(kernel_size)
    if any(k % 2 == 0 for k in kernel):
        raise ValueError(f"`kernel_size` (={shown(kernel_size)}) must be odd.")
    return tuple(k // 2 for k in kernel)


def _triple(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)


def convolution(
    in_channels: int | None, out_channels: int, *args: Any, **options: Any
) -> nn.Module:
    """A Conv3d; where the input channels are None, a lazy one."""
    if in_channels is None:
        return nn.LazyConv3d(out_channels, *args, **options)
    return nn.Conv3d(in_channels, out_channels, *args, **options)


class ADN(nn.Sequential):
    """Activation (A), dropout (D) and normalization (N), those asked for, in order."""

    def __init__(
        self,
        ordering: str,
        channels: int,
        act: Named | None,
        norm: Named | None,
        dropout: Named | float | None,
    ):
        super().__init__()
        for letter in ordering.upper():
            if letter not in "ADN":
                raise ValueError(
                    f"`adn_ordering` (={shown(ordering)}) has letters A, D, N."
                )
            if letter == "A" and act is not None:
                self.add_module("A", activation_layer(act))
            elif letter == "D" and dropout is not None:
                self.add_module("D", dropout_layer(dropout))
            elif letter == "N" and norm is not None:
                self.add_module("N", norm_layer(norm, channels))


class Convolution(nn.Sequential):
    """A convolution, or a transposed one, and what ADN adds to it."""

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        *,
        strides: Size3d = 1,
        kernel_size: Size3d = 3,
        adn_ordering: str = "NDA",
        act: Named | None = "PRELU",
        norm: Named | None = "INSTANCE",
        dropout: Named | float | None = None,
        bias: bool = True,
        conv_only: bool = False,
        is_transposed: bool = False,
    ):
        super().__init__()
        options: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": strides,
            "padding": same_padding(kernel_size),
            "bias": bias,
        }
        if is_transposed:
            assert in_channels is not None
            # The output is the input's size times the stride.
            options["output_padding"] = tuple(s - 1 for s in _triple(strides))
            conv = nn.ConvTranspose3d(in_channels, out_channels, **options)
        else:
            conv = convolution(in_channels, out_channels, **options)
        self.add_module("conv", conv)
        if not conv_only and any(x is not None for x in (act, norm, dropout)):
            adn = ADN(adn_ordering, out_channels, act, norm, dropout)
            self.add_module("adn", adn)


class ResidualUnit(nn.Module):
    """Convolutions, and the input, convolved where its shape differs, added to them."""

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        *,
        strides: Size3d = 1,
        kernel_size: Size3d = 3,
        subunits: int = 2,
        last_conv_only: bool = False,
        bias: bool = True,
        **options: Any,
    ):
        super().__init__()
        self.conv = nn.Sequential()
        for i in range(max(1, subunits)):
            first = i == 0
            unit = Convolution(
                in_channels if first else out_channels,
                out_channels,
                strides=strides if first else 1,
                kernel_size=kernel_size,
                conv_only=last_conv_only and i == subunits - 1,
                bias=bias,
                **options,
            )
            self.conv.add_module(f"unit{i}", unit)
        strided = math.prod(_triple(strides)) != 1
        self.residual: nn.Module = nn.Identity()
        if strided or in_channels != out_channels:
            kernel = kernel_size if strided else 1
            self.residual = convolution(
                in_channels,
                out_channels,
                kernel,
                strides,
                same_padding(kernel),
                bias=bias,
            )

    def forward(self, x: Tensor) -> Tensor:
        return add(self.conv(x), self.residual(x))
