"""Linear layers: their draws, and the lazy twin."""

import lucid
from lucid import nn
import mlx.core as mx
import pytest


@pytest.mark.parametrize("bias", [True, False])
def test_weights_are_drawn_within_one_over_the_root_of_the_inputs(bias):
    lucid.manual_seed(0)
    layer = nn.Linear(64, 500, bias=bias)
    arrays = [layer.weight, layer.bias] if bias else [layer.weight]
    for array in arrays:
        assert mx.abs(array).max().item() == pytest.approx(1 / 8, rel=0.02)
        assert array.mean().item() == pytest.approx(0, abs=0.01)
    assert bias or layer.bias is None


def test_a_lazy_linear_learns_its_inputs_whatever_comes_before_them():
    for shape in ((7,), (2, 7), (0, 7), (2, 3, 7)):
        layer = nn.LazyLinear(3)
        assert layer(lucid.ones(shape)).shape == (*shape[:-1], 3)
        assert layer.in_features == 7


@pytest.mark.parametrize(
    "bad",
    [lucid.tensor(1.0), lucid.ones(2, 0), lucid.ones(2, 3, dtype="float16")],
    ids=lambda x: f"{x.shape} {x.dtype}",
)
def test_a_refused_first_call_leaves_it_lazy(bad):
    layer = nn.LazyLinear(3)
    key = lucid.get_rng_state()
    with pytest.raises((TypeError, ValueError), match="`input`"):
        layer(bad)
    assert layer.in_features is None
    assert mx.array_equal(lucid.get_rng_state(), key)


def test_a_state_dict_tells_a_lazy_linear_its_inputs():
    eager, layer = nn.Linear(7, 3), nn.LazyLinear(3)
    layer.load_state_dict(eager.state_dict())
    assert layer.in_features == 7
    x = lucid.ones(2, 7)
    assert mx.array_equal(layer(x), eager(x))
