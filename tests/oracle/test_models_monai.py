"""MONAI's networks beside their originals: names, order, output and gradients."""

from __future__ import annotations

import itertools
from typing import Any

from lucid import models, nn
import mlx.core as mx
from monai.networks import nets
import numpy as np
import pytest
import torch

from tests.oracle.networks import assert_same_network

RNG = np.random.default_rng(0)

UNETS: list[dict[str, Any]] = [
    {
        "channels": channels,
        "strides": strides,
        "num_res_units": units,
        "act": act,
        "norm": norm,
        "bias": bias,
    }
    for (channels, strides), units, (act, norm, bias) in itertools.product(
        [((4, 8), (2,)), ((4, 6, 8), (2, 2)), ((2, 4, 8), ((1, 2, 2), 1))],
        [0, 1, 2, 3],
        [
            ("PRELU", "INSTANCE", True),
            (("leakyrelu", {"negative_slope": 0.1}), "BATCH", False),
            ("elu", ("group", {"num_groups": 1}), True),
        ],
    )
]
UNETS += [
    {"channels": (4, 8), "strides": (2,), "kernel_size": (3, 5, 1), "num_res_units": 2},
    {"channels": (4, 8), "strides": (2,), "up_kernel_size": (1, 3, 5)},
    {"channels": (4, 8), "strides": (2,), "adn_ordering": "AN", "num_res_units": 1},
    {"channels": (4, 8), "strides": (2,), "adn_ordering": "DNA", "act": "swish"},
    {
        "channels": (4, 8),
        "strides": (2,),
        "norm": ("instance", {"affine": True, "eps": 1e-3}),
        "act": ("prelu", {"init": 0.1}),
    },
]


SHALLOW: dict[str, Any] = {"blocks_down": (1, 1), "blocks_up": (1,)}


@pytest.mark.parametrize("options", UNETS, ids=str)
@pytest.mark.parametrize("channels", [(1, 2), (4, 1)], ids=str)
def test_unet(options, channels):
    # Dropout of probability 0, MONAI's default, stands in the network all the same.
    theirs = nets.UNet(3, *channels, **options)
    ours = models.UNet(3, *channels, **options)
    assert_same_network(ours, theirs, (2, channels[0], 8, 8, 8))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"init_filters": 16, "blocks_down": (1, 2), "blocks_up": (2,)},
        {"blocks_down": (1, 1, 1), "blocks_up": (1, 1), "upsample_mode": "deconv"},
        {**SHALLOW, "use_conv_final": False},
        {**SHALLOW, "norm": "batch", "act": "prelu"},
        {
            "blocks_down": (1, 1),
            "blocks_up": (1,),
            "norm_name": "group",
            "num_groups": 4,
        },
        {"blocks_down": (2, 1), "blocks_up": (1,), "dropout_prob": 0.0},
        {
            "blocks_down": (1, 1),
            "blocks_up": (1,),
            "act": "leakyrelu",
            "norm": "instance",
        },
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [(1, 2), (4, 3)], ids=str)
def test_segresnet(options, channels):
    names = {"in_channels": channels[0], "out_channels": channels[1]}
    theirs = nets.SegResNet(3, **names, **options)
    ours = models.SegResNet(3, **names, **options)
    assert_same_network(ours, theirs, (1, channels[0], 16, 8, 16))


def test_lazy_channels_are_read_from_the_original_s_weights():
    theirs = nets.UNet(3, 3, 2, (4, 8), (2,), num_res_units=2)
    ours = models.UNet(3, None, 2, (4, 8), (2,), num_res_units=2)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    assert not nn.has_uninitialized_params(ours)
    x = RNG.normal(size=(1, 3, 4, 4, 4)).astype(np.float32)
    want = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(np.array(ours(mx.array(x))), want, rtol=1e-4, atol=1e-5)
