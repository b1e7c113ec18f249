"""nnU-Net's networks beside their originals: names, order, output and gradients."""

from __future__ import annotations

from typing import Any

from dynamic_network_architectures.architectures import unet
from dynamic_network_architectures.building_blocks import residual
from lucid import models, nn
import mlx.core as mx
import numpy as np
import pytest
import torch

from tests.oracle.networks import assert_same_network

NORMED: dict[str, Any] = {
    "norm_op": "torch.nn.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
BATCHED: dict[str, Any] = {
    "norm_op": "torch.nn.BatchNorm3d",
    "nonlin": "torch.nn.ReLU",
    "conv_bias": True,
}
PLAIN: list[dict[str, Any]] = [
    NORMED,
    BATCHED,
    {**NORMED, "deep_supervision": True},
    {**NORMED, "nonlin_first": True},
    {**BATCHED, "dropout_op": "torch.nn.Dropout3d", "dropout_op_kwargs": {"p": 0.0}},
    {"nonlin": "torch.nn.ELU"},
    {"norm_op": "torch.nn.InstanceNorm3d"},
]
STAGES: list[dict[str, Any]] = [
    {
        "n_stages": 3,
        "features_per_stage": (4, 6, 8),
        "kernel_sizes": 3,
        "strides": (1, 2, 2),
        "n": 2,
        "n_conv_per_stage_decoder": 1,
    },
    {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "kernel_sizes": [[1, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2]],
        "n": [1, 3],
        "n_conv_per_stage_decoder": [2],
    },
]


def theirs_of(options: dict[str, Any]) -> dict[str, Any]:
    """PyTorch's classes for their names."""
    return {
        name: getattr(torch.nn, value.split(".")[-1])
        if isinstance(value, str)
        else value
        for name, value in options.items()
    }


def renamed(stages: dict[str, Any], n: str) -> dict[str, Any]:
    return {n if name == "n" else name: value for name, value in stages.items()}


@pytest.mark.parametrize("options", PLAIN, ids=str)
@pytest.mark.parametrize("stages", STAGES, ids=["three", "uneven"])
def test_plain_conv_unet(stages, options):
    arguments = {
        "input_channels": 2,
        "num_classes": 3,
        "conv_op": "torch.nn.Conv3d",
        **renamed(stages, "n_conv_per_stage"),
        **options,
    }
    theirs = unet.PlainConvUNet(**theirs_of(arguments))
    assert_same_network(models.PlainConvUNet(**arguments), theirs, (2, 2, 8, 8, 8))


@pytest.mark.parametrize("options", [*PLAIN[:3], *PLAIN[4:]], ids=str)
@pytest.mark.parametrize("stages", STAGES, ids=["three", "uneven"])
@pytest.mark.parametrize(
    ("block", "more"),
    [
        ("BasicBlockD", {}),
        ("BasicBlockD", {"stem_channels": 6}),
        ("BottleneckD", {"bottleneck_channels": 2}),
    ],
    ids=str,
)
def test_residual_encoder_unet(stages, options, block, more):
    arguments = {
        "input_channels": 1,
        "num_classes": 2,
        "conv_op": "torch.nn.Conv3d",
        **renamed(stages, "n_blocks_per_stage"),
        **options,
        **more,
    }
    theirs = unet.ResidualEncoderUNet(
        **theirs_of(arguments), block=getattr(residual, block)
    )
    ours = models.ResidualEncoderUNet(**arguments, block=getattr(models, block))
    assert_same_network(ours, theirs, (2, 1, 8, 8, 8))


def test_initial_weights_are_he_s_with_zeros_where_nnunet_has_them():
    arguments = {
        "input_channels": 1,
        "num_classes": 2,
        "conv_op": "Conv3d",
        **renamed(STAGES[0], "n_blocks_per_stage"),
        **NORMED,
    }
    ours = models.ResidualEncoderUNet(**arguments)
    ours.apply(ours.initialize)
    theirs = unet.ResidualEncoderUNet(**theirs_of(arguments))
    theirs.apply(theirs.initialize)
    wants = {k: v.numpy() for k, v in theirs.state_dict().items()}
    for name, got in ours.state_dict().items():
        want = wants[name]
        if want.size > 500:
            assert abs(np.std(np.array(got)) / want.std() - 1) < 0.15, name
        elif not want.any():
            assert not mx.any(got), name


def test_classes_of_lucid_and_names_of_pytorch_build_the_same():
    arguments = {
        "input_channels": None,
        "num_classes": 2,
        **renamed(STAGES[0], "n_conv_per_stage"),
    }
    by_name = models.PlainConvUNet(**arguments, conv_op="torch.nn.modules.conv.Conv3d")
    by_class = models.PlainConvUNet(**arguments, conv_op=nn.Conv3d)
    assert repr(by_name) == repr(by_class)
