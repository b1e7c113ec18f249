"""nnU-Net's PlainConvUNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lucid import nn
from lucid.models.nnunet_base import (
    Decoder,
    Encoder,
    EncoderDecoder,
    Levels,
    PerStage,
    he_initialize,
    per_stage,
)
from lucid.models.nnunet_blocks import Ingredients, LayerLike, StackedConvBlocks


class PlainConvUNet(EncoderDecoder):
    """nnU-Net's U-Net of plain convolutions (Isensee et al. 2021).

    The arguments and their order are those of dynamic-network-architectures, which
    nnU-Net builds its networks with (https://doi.org/10.1038/s41592-020-01008-z).

    Args:
        input_channels: channels of the input; None to infer them from the first input.
        n_stages: number of levels, with the top one.
        features_per_stage: channels of each level.
        conv_op: Lucid's `Conv3d`, or its name in PyTorch (likewise other layers).
        kernel_sizes: of each level.
        strides: of each level's first convolution; that of the top one is usually 1.
        n_conv_per_stage: convolutions of each level down.
        num_classes: channels of the output.
        n_conv_per_stage_decoder: convolutions of each level up, from the lowest.
        conv_bias: whether convolutions have one.
        norm_op: the normalization's class or name; None for none.
        norm_op_kwargs: its arguments beside the channels.
        dropout_op: the dropout's class or name; None for none.
        dropout_op_kwargs: its arguments.
        nonlin: the activation's class or name; None for none.
        nonlin_kwargs: its arguments.
        deep_supervision: whether to return an output of every level, largest first.
        nonlin_first: whether the activation comes before the normalization.

    Shape:
        - input: (N, C, D, H, W), sizes divisible by the product of the strides
        - output: (N, num_classes, D, H, W), or a list of one for each level

    State dict:
        nnU-Net's names, under which each layer appears several times
        (`encoder.stages.0.0.convs.0.conv.weight`, `decoder.encoder.stages...`).

    Raises:
        ValueError: arguments that do not fit together, or layers that are not for
            volumes.

    Example:
        >>> import lucid
        >>> from lucid.models import PlainConvUNet
        >>> net = PlainConvUNet(None, 3, (4, 8, 16), "Conv3d", 3, (1, 2, 2), 2, 3, 2,
        ...                     norm_op="InstanceNorm3d", nonlin="LeakyReLU")
        >>> net(lucid.zeros(1, 1, 8, 8, 8)).shape
        (1, 3, 8, 8, 8)
    """

    def __init__(
        self,
        input_channels: int | None,
        n_stages: int,
        features_per_stage: PerStage,
        conv_op: LayerLike,
        kernel_sizes: PerStage,
        strides: PerStage,
        n_conv_per_stage: PerStage,
        num_classes: int,
        n_conv_per_stage_decoder: PerStage,
        conv_bias: bool = False,
        norm_op: LayerLike | None = None,
        norm_op_kwargs: Mapping[str, Any] | None = None,
        dropout_op: LayerLike | None = None,
        dropout_op_kwargs: Mapping[str, Any] | None = None,
        nonlin: LayerLike | None = None,
        nonlin_kwargs: Mapping[str, Any] | None = None,
        deep_supervision: bool = False,
        nonlin_first: bool = False,
    ):
        super().__init__()
        made_of = Ingredients.of(
            conv_op=conv_op,
            conv_bias=conv_bias,
            norm_op=norm_op,
            norm_op_kwargs=norm_op_kwargs,
            dropout_op=dropout_op,
            dropout_op_kwargs=dropout_op_kwargs,
            nonlin=nonlin,
            nonlin_kwargs=nonlin_kwargs,
            nonlin_first=nonlin_first,
        )
        levels = Levels.of(
            n_stages,
            features_per_stage,
            kernel_sizes,
            strides,
            n_conv_per_stage_decoder,
        )
        counts = per_stage("n_conv_per_stage", n_conv_per_stage, n_stages)
        stages, channels = [], input_channels
        for count, out, kernel, step in zip(counts, *levels[:3], strict=True):
            blocks = StackedConvBlocks(made_of, count, channels, out, kernel, step)
            stages.append(nn.Sequential(blocks))
            channels = out
        self.encoder = Encoder(stages)
        self.decoder = Decoder(
            self.encoder, made_of, levels, num_classes, deep_supervision
        )

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """nnU-Net's initial weights: `network.apply(network.initialize)`."""
        he_initialize(module)
