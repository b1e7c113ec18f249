"""MONAI's UNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
import warnings

import lucid
from lucid import nn
from lucid._types import Size3d, Tensor, shown
from lucid.models.monai_blocks import Convolution, Named, ResidualUnit


class UNet(nn.Module):
    """MONAI's U-Net of strided convolutions and residual units, for volumes.

    Each level has a strided convolution down, the level below, and a transposed
    convolution up, whose input is the output of both, concatenated (Kerfoot et al.
    2018, https://doi.org/10.1007/978-3-030-12029-0_40).

    Args:
        spatial_dims: 3.
        in_channels: channels of the input; None to infer them from the first input.
        out_channels: channels of the output.
        channels: channels of each level, the top one first; at least two.
        strides: from each level to the next; one fewer than `channels`.
        kernel_size: of the convolutions, odd.
        up_kernel_size: of the transposed convolutions, odd.
        num_res_units: convolutions in a residual unit; 0 for plain convolutions.
        act: the activation: a name, or a name and a dict of arguments.
        norm: the normalization, likewise.
        dropout: the probability, or a name and arguments.
        bias: whether convolutions have one.
        adn_ordering: the order of activation, dropout and normalization.

    Shape:
        - input: (N, C, D, H, W), sizes divisible by the product of the strides
        - output: (N, out_channels, D, H, W)

    State dict:
        MONAI 1.6's names and shapes: `model.0.conv.unit0.conv.weight`.

    Raises:
        ValueError: arguments that do not fit together.

    Example:
        >>> import lucid
        >>> from lucid.models import UNet
        >>> net = UNet(3, None, 2, channels=(4, 8, 16), strides=(2, 2), num_res_units=2)
        >>> net(lucid.zeros(1, 1, 8, 8, 8)).shape
        (1, 2, 8, 8, 8)
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int | None,
        out_channels: int,
        channels: Sequence[int],
        strides: Sequence[Size3d],
        kernel_size: Size3d = 3,
        up_kernel_size: Size3d = 3,
        num_res_units: int = 0,
        act: Named = "PRELU",
        norm: Named = "INSTANCE",
        dropout: float = 0.0,
        bias: bool = True,
        adn_ordering: str = "NDA",
    ):
        super().__init__()
        check_spatial_dims(spatial_dims)
        if len(channels) < 2:
            raise ValueError(f"`channels` (={shown(channels)}) must have two at least.")
        if len(strides) < len(channels) - 1:
            raise ValueError(
                f"`strides` (={shown(strides)}) must be one less than `channels` "
                f"(={shown(channels)})."
            )
        if len(strides) > len(channels) - 1:
            warnings.warn("`strides`: the last ones are not used.", stacklevel=2)
        self._kernel_size, self._up_kernel_size = kernel_size, up_kernel_size
        self._num_res_units = num_res_units
        self._options: dict[str, Any] = {
            "act": act,
            "norm": norm,
            "dropout": dropout,
            "bias": bias,
            "adn_ordering": adn_ordering,
        }
        self.model = self._level(
            in_channels, out_channels, tuple(channels), tuple(strides), is_top=True
        )

    def _level(
        self,
        in_channels: int | None,
        out_channels: int,
        channels: tuple[int, ...],
        strides: tuple[Size3d, ...],
        is_top: bool = False,
    ) -> nn.Sequential:
        """Down, the levels below beside what went down, and up again."""
        here, below, *_ = channels
        if len(channels) > 2:
            inner = self._level(here, here, channels[1:], strides[1:])
            joined = 2 * here
        else:
            inner = self._down(here, below, 1)
            joined = here + below
        return nn.Sequential(
            self._down(in_channels, here, strides[0]),
            SkipConnection(inner),
            self._up(joined, out_channels, strides[0], is_top),
        )

    def _down(
        self, in_channels: int | None, out_channels: int, strides: Size3d
    ) -> nn.Module:
        options = {"strides": strides, "kernel_size": self._kernel_size}
        if self._num_res_units > 0:
            return ResidualUnit(
                in_channels,
                out_channels,
                subunits=self._num_res_units,
                **options,
                **self._options,
            )
        return Convolution(in_channels, out_channels, **options, **self._options)

    def _up(
        self, in_channels: int, out_channels: int, strides: Size3d, is_top: bool
    ) -> nn.Module:
        plain = self._num_res_units == 0
        up = Convolution(
            in_channels,
            out_channels,
            strides=strides,
            kernel_size=self._up_kernel_size,
            conv_only=is_top and plain,
            is_transposed=True,
            **self._options,
        )
        if plain:
            return up
        unit = ResidualUnit(
            out_channels,
            out_channels,
            kernel_size=self._kernel_size,
            subunits=1,
            last_conv_only=is_top,
            **self._options,
        )
        return nn.Sequential(up, unit)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class SkipConnection(nn.Module):
    """The input, and what a module makes of it, joined along the channels."""

    def __init__(self, submodule: nn.Module):
        super().__init__()
        self.submodule = submodule

    def forward(self, x: Tensor) -> Tensor:
        return lucid.cat([x, self.submodule(x)], dim=1)


def check_spatial_dims(spatial_dims: int) -> None:
    """MONAI's networks take 2 too; Lucid is for volumes."""
    if spatial_dims != 3:
        raise ValueError(f"`spatial_dims` (={shown(spatial_dims)}) must be 3.")
