"""What nnU-Net's two networks share: the encoder's and the decoder's course."""

from __future__ import annotations

from collections.abc import Sequence
import itertools
from typing import Any

import lucid
from lucid import nn
from lucid._types import Size3d, Tensor
from lucid.models.nnunet_blocks import (
    Ingredients,
    StackedConvBlocks,
    as_triple,
)

PerStage = int | Sequence[Any]


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
        features: Sequence[int],
        kernel_sizes: Sequence[Size3d],
        strides: Sequence[Size3d],
        n_conv_per_stage: Sequence[int],
        num_classes: int,
        deep_supervision: bool,
    ):
        super().__init__()
        self.deep_supervision = deep_supervision
        self.encoder = encoder
        stages, transpconvs, seg_layers = [], [], []
        for s, (below, skip) in enumerate(itertools.pairwise(features[::-1]), start=1):
            up = as_triple(strides[-s])
            transpconvs.append(
                nn.ConvTranspose3d(below, skip, up, up, bias=made_of.conv_bias)
            )
            count, kernel = n_conv_per_stage[s - 1], kernel_sizes[-(s + 1)]
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
        raise ValueError(f"`{name}` (={value!r}) must have {count} entries.")
    return values


def he_initialize(module: Any) -> None:
    """He et al.'s normal rule for convolutions, as nnU-Net initializes."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=1e-2)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
