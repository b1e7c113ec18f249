"""A layer that there is not: the error says what comes near it."""

from __future__ import annotations

import lucid
from lucid import nn
import pytest


@pytest.mark.parametrize(
    ("name", "hints"),
    [
        ("Conv3D", ["'Conv3d'"]),
        ("conv3d", ["'Conv3d'"]),
        ("Conv2d", ["'Conv3d'", "mlx.nn.Conv2d", "last axis"]),
        ("SyncBatchNorm", []),
        ("MultiHeadAttention", ["mlx.nn.MultiHeadAttention", "last axis"]),
        ("GLU", ["last axis"]),
        ("LSTM", ["mlx.nn.LSTM"]),
        ("utils", ["lucid.optim.clip_grad_norm"]),
        ("Sequental", ["'Sequential'"]),
    ],
)
def test_the_nearest_and_mlxs_are_named(name, hints):
    with pytest.raises(
        AttributeError, match=f"'lucid.nn' has no attribute '{name}'"
    ) as e:
        getattr(nn, name)
    for hint in hints:
        assert hint in str(e.value)


def test_an_elementwise_layer_of_mlxs_has_no_axis():
    with pytest.raises(AttributeError, match=r"mlx\.nn\.Softsign") as caught:
        _ = nn.Softsign
    assert "last axis" not in str(caught.value)


def test_a_loss_of_another_kind_is_not_suggested():
    with pytest.raises(AttributeError, match=r"'KLDivLoss'\.$"):
        _ = nn.KLDivLoss


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("conv2d", "'conv3d'"),
        ("relu6", "mlx.nn.relu6"),
        ("hardtanh", "mlx.nn.hard_tanh"),
        ("kl_div", "mlx.nn.losses.kl_div_loss"),
        ("scaled_dot_product_attention", "mlx.core.fast.scaled_dot_product_attention"),
    ],
)
def test_the_function_that_comes_near_is_named(name, hint):
    start = f"'lucid.nn.functional' has no attribute '{name}'"
    with pytest.raises(AttributeError, match=start) as caught:
        getattr(nn.functional, name)
    assert hint in str(caught.value)


@pytest.mark.parametrize("name", ["_relu", "tanhshrink", "upsample"])
def test_no_function_is_guessed_of_other_names(name):
    with pytest.raises(AttributeError, match=rf"'{name}'\.$"):
        getattr(nn.functional, name)


def test_nothing_is_guessed_for_private_names_and_hasattr_works():
    with pytest.raises(AttributeError, match=r"'_conv'\.$"):
        _ = nn._conv
    assert not hasattr(nn, "Unknown")


MODULES = [
    *(lucid, nn, nn.init, nn.functional),
    *(lucid.optim, lucid.models, lucid.inference, lucid.metrics),
    *(lucid.distributed, lucid.plot),
]


@pytest.mark.parametrize("module", MODULES)
def test_completion_shows_what_is_public(module):
    shown = [name for name in dir(module) if not name.startswith("_")]
    assert sorted(shown) == sorted(module.__all__)
