"""Group and layer norms: their parameters."""

import lucid
from lucid import nn
import mlx.core as mx
import pytest


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (nn.GroupNorm(2, 4), ["weight", "bias"]),
        (nn.GroupNorm(2, 4, bias=False), ["weight"]),
        (nn.GroupNorm(2, 4, affine=False), []),
        (nn.LayerNorm((4, 5)), ["weight", "bias"]),
        (nn.LayerNorm((4, 5), bias=False), ["weight"]),
        (nn.LayerNorm((4, 5), elementwise_affine=False), []),
    ],
    ids=str,
)
def test_weights_begin_as_ones_and_biases_as_zeros(layer, names):
    assert list(layer.state_dict()) == names
    assert all((layer.weight == 1).all() for name in names if name == "weight")
    assert all((layer.bias == 0).all() for name in names if name == "bias")
    assert {"weight", "bias"} - set(names) == {
        name for name in ("weight", "bias") if getattr(layer, name) is None
    }


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_norm_is_made_in_the_dtype_it_is_asked_for(dtype):
    layer = nn.GroupNorm(2, 4, dtype=dtype)
    x = lucid.ones(1, 4, 2, 2, 2, dtype=dtype)
    assert layer(x).dtype == layer.weight.dtype == x.dtype


def test_group_norms_of_one_and_of_all_groups_are_other_norms():
    x = lucid.randn(2, 4, 3, 4, 5)
    instance = nn.InstanceNorm3d(4)(x)
    assert mx.allclose(nn.GroupNorm(4, 4)(x), instance, atol=1e-5)
    layer = nn.LayerNorm((4, 3, 4, 5))(x)
    assert mx.allclose(nn.GroupNorm(1, 4)(x), layer, atol=1e-5)
