"""nnU-Net's ResidualEncoderUNet."""

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
from lucid.models.nnunet_residual import (
    BasicBlockD,
    BottleneckD,
    StackedResidualBlocks,
)


class ResidualEncoderUNet(EncoderDecoder):
    """nnU-Net's U-Net with a residual encoder (Isensee et al. 2024).

    The arguments and their order are those of dynamic-network-architectures
    (https://arxiv.org/abs/2404.09556).

    Args:
        input_channels: channels of the input; None to infer them from the first input.
        n_stages: number of levels, with the top one.
        features_per_stage: channels of each level.
        conv_op: Lucid's `Conv3d`, or its name in PyTorch (likewise other layers).
        kernel_sizes: of each level.
        strides: of each level's first block; that of the top one is usually 1.
        n_blocks_per_stage: residual blocks of each level down.
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
        block: `BasicBlockD` or `BottleneckD`.
        bottleneck_channels: of each level, for `BottleneckD`.
        stem_channels: of the convolution before the first level; None for that level's.

    Shape:
        - input: (N, C, D, H, W), sizes divisible by the product of the strides
        - output: (N, num_classes, D, H, W), or a list of one for each level

    State dict:
        nnU-Net's names, as for `PlainConvUNet`.

    Raises:
        ValueError: arguments that do not fit together, or layers that are not for
            volumes.

    Example:
        >>> import lucid
        >>> from lucid.models import ResidualEncoderUNet
        >>> net = ResidualEncoderUNet(None, 2, (4, 8), "Conv3d", 3, (1, 2), 1, 3, 1,
        ...                           norm_op="InstanceNorm3d", nonlin="LeakyReLU")
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
        n_blocks_per_stage: PerStage,
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
        block: type[BasicBlockD] | type[BottleneckD] = BasicBlockD,
        bottleneck_channels: PerStage | None = None,
        stem_channels: int | None = None,
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
        )
        levels = Levels.of(
            n_stages,
            features_per_stage,
            kernel_sizes,
            strides,
            n_conv_per_stage_decoder,
        )
        counts = per_stage("n_blocks_per_stage", n_blocks_per_stage, n_stages)
        narrow: list[int | None] = [None] * n_stages
        if bottleneck_channels is not None:
            narrow = per_stage("bottleneck_channels", bottleneck_channels, n_stages)
        channels = levels.features[0] if stem_channels is None else stem_channels
        stem = StackedConvBlocks(
            made_of, 1, input_channels, channels, levels.kernel_sizes[0]
        )
        stages = []
        for count, between, out, kernel, step in zip(
            counts, narrow, *levels[:3], strict=True
        ):
            stages.append(
                StackedResidualBlocks(
                    made_of,
                    block,
                    n_blocks=count,
                    input_channels=channels,
                    bottleneck_channels=between,
                    output_channels=out,
                    kernel_size=kernel,
                    initial_stride=step,
                )
            )
            channels = out
        self.encoder = Encoder(stages, stem)
        self.decoder = Decoder(
            self.encoder, made_of, levels, num_classes, deep_supervision
        )

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """nnU-Net's initial weights: `network.apply(network.initialize)`."""
        he_initialize(module)
        last = {BasicBlockD: "conv2", BottleneckD: "conv3"}.get(type(module))  # type: ignore[call-overload]
        if last is not None and "norm" in getattr(module, last):
            nn.init.zeros_(getattr(module, last).norm.weight)
            nn.init.zeros_(getattr(module, last).norm.bias)
