"""What nnU-Net's two networks share: the encoder's and the decoder's course."""

from __future__ import annotations

from collections.abc import Sequence
import itertools
from typing import Any, NamedTuple

import lucid
from lucid import nn
from lucid._types import Size3d, Tensor, shown
from lucid.models.nnunet_blocks import (
    Ingredients,
    StackedConvBlocks,
    as_triple,
)

PerStage = int | Sequence[Any]


class Levels(NamedTuple):
    """What each level of a network has, the top one first.

    Attributes:
        features: channels.
        kernel_sizes: of its convolutions.
        strides: of its first convolution on the way down.
        n_conv_up: convolutions on the way up, from the lowest level.
    """

    features: list[int]
    kernel_sizes: list[Size3d]
    strides: list[Size3d]
    n_conv_up: list[int]

    @classmethod
    def of(
        cls,
        n_stages: int,
        features_per_stage: PerStage,
        kernel_sizes: PerStage,
        strides: PerStage,
        n_conv_per_stage_decoder: PerStage,
    ) -> Levels:
        return cls(
            per_stage("features_per_stage", features_per_stage, n_stages),
            per_stage("kernel_sizes", kernel_sizes, n_stages),
            per_stage("strides", strides, n_stages),
            per_stage(
                "n_conv_per_stage_decoder", n_conv_per_stage_decoder, n_stages - 1
            ),
        )


class Encoder(nn.Module):
    """Stages, each convolving what the one before gave; all outputs are returned."""

    def __init__(self, stages: Sequence[nn.Module], stem: nn.Module | None = None):
        super().__init__()
        self.has_stem = stem is not None
        if stem is not None:
            self.stem = stem
        self.stages = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.has_stem:
            x = self.stem(x)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class Decoder(nn.Module):
    """From the lowest stage up: a transposed convolution, the skip beside, blocks.

    The encoder stands in it too, under nnU-Net's name for it.
    """

    def __init__(
        self,
        encoder: Encoder,
        made_of: Ingredients,
        levels: Levels,
        num_classes: int,
        deep_supervision: bool,
    ):
        super().__init__()
        self.deep_supervision = deep_supervision
        self.encoder = encoder
        stages, transpconvs, seg_layers = [], [], []
        upwards = itertools.pairwise(levels.features[::-1])
        for s, (below, skip) in enumerate(upwards, start=1):
            up = as_triple(levels.strides[-s])
            transpconvs.append(
                nn.ConvTranspose3d(below, skip, up, up, bias=made_of.conv_bias)
            )
            count, kernel = levels.n_conv_up[s - 1], levels.kernel_sizes[-(s + 1)]
            stages.append(StackedConvBlocks(made_of, count, 2 * skip, skip, kernel))
            seg_layers.append(made_of.conv(skip, num_classes, 1, 1, 0, bias=True))
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(transpconvs)
        self.seg_layers = nn.ModuleList(seg_layers)

    def forward(self, skips: list[Tensor]) -> Tensor | list[Tensor]:
        x, *rest = skips[::-1]
        outputs = []
        for up, stage, head, skip in zip(
            self.transpconvs, self.stages, self.seg_layers, rest, strict=True
        ):
            x = stage(lucid.cat([up(x), skip], dim=1))
            if self.deep_supervision:
                outputs.append(head(x))
        return outputs[::-1] if self.deep_supervision else self.seg_layers[-1](x)


class EncoderDecoder(nn.Module):
    """What both networks share."""

    encoder: Encoder
    decoder: Decoder

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        return self.decoder(self.encoder(x))


def per_stage(name: str, value: PerStage, count: int) -> list[Any]:
    values = list(value) if isinstance(value, Sequence) else [value] * count
    if len(values) != count:
        raise ValueError(f"`{name}` (={shown(value)}) must have {count} entries.")
    return values


def he_initialize(module: Any) -> None:
    """He et al.'s normal rule for convolutions, as nnU-Net initializes."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=1e-2)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
