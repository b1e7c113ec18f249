"""`lucid.summary`: the right numbers, and no trace of having asked."""

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import pytest


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv3d(8, 3, groups=2, padding=1)
        self.act = nn.ReLU()
        self.linear = mlx.nn.Linear(5, 7)
        self.scale = nn.Parameter(mx.ones((1,)))
        self.register_buffer("calls", mx.array(0))

    def forward(self, x):
        self.calls = self.calls + 1
        return self.linear(self.act(self.act(self.conv(x)))) * self.scale


def test_numbers_of_each_layer():
    summary = lucid.summary(Net(), (2, 4, 3, 3, 5))
    conv, first, second, linear, net = summary.layers
    assert (conv.name, conv.type) == ("conv", "LazyConv3d")
    assert conv.output_shape == (2, 8, 3, 3, 5)
    assert conv.parameters == 8 * 2 * 27 + 8
    assert conv.multiply_adds == 2 * 8 * 45 * 2 * 27
    assert conv.activation_bytes == 4 * 2 * 8 * 45
    assert first.name == second.name == "act"
    assert linear.output_shape == (2, 8, 3, 3, 7)
    assert linear.multiply_adds == 2 * 8 * 9 * 5 * 7
    assert net.parameters == 1
    assert summary.parameters == 8 * 2 * 27 + 8 + 5 * 7 + 7 + 1


def test_the_model_and_the_random_state_are_as_before():
    model, key = Net(), lucid.get_rng_state()
    kinds = [type(module) for module in model.modules()]
    lucid.summary(model, (1, 4, 3, 3, 5))
    assert model.conv.weight is None
    assert model.calls.item() == 0
    assert [type(module) for module in model.modules()] == kinds
    assert (lucid.get_rng_state() == key).all()


def test_a_failing_summary_restores_the_model_too():
    model = Net()
    with pytest.raises(ValueError, match="addmm"):
        lucid.summary(model, (1, 4, 3, 3, 6))  # the linear layer takes 5
    assert type(model.linear) is mlx.nn.Linear
    assert model.conv.weight is None


def test_a_layer_called_twice_counts_its_parameters_once():
    shared = nn.Conv3d(2, 2, 1)
    summary = lucid.summary(nn.Sequential(shared, shared), (1, 2, 1, 1, 1))
    assert [layer.parameters for layer in summary.layers] == [6, 0]
    assert summary.parameters == 6
    assert summary.multiply_adds == 8


def test_frozen_parameters_are_told_apart():
    model = nn.Sequential(nn.LazyConv3d(2, 1).freeze(), nn.LazyConv3d(3, 1))
    summary = lucid.summary(model, (1, 2, 1, 1, 1))
    assert (summary.parameters, summary.trainable_parameters) == (15, 9)


def test_half_precision_takes_half_the_memory():
    sizes = [
        lucid.summary(nn.LazyConv3d(2, 1, dtype=dtype), (1, 2, 4, 4, 4))
        for dtype in ("float32", "bfloat16")
    ]
    assert sizes[0].activation_bytes == 2 * sizes[1].activation_bytes


def test_nothing_is_computed():
    model = nn.Sequential(nn.LazyConv3d(64, 3, padding=1), nn.LazyConv3d(1, 1))
    summary = lucid.summary(model, (1, 4, 256, 256, 256))
    assert summary.layers[0].activation_bytes == 4 * 2**30


def test_transposed_convolutions_cost_their_inputs():
    layer = mlx.nn.ConvTranspose3d(3, 5, 2, stride=2)
    summary = lucid.summary(layer, (1, 4, 4, 4, 3))
    assert summary.layers[0].output_shape == (1, 8, 8, 8, 5)
    assert summary.multiply_adds == 64 * 3 * 5 * 8


def test_lucids_transposed_convolutions_cost_their_inputs():
    layer = nn.LazyConvTranspose3d(6, 2, stride=2, groups=3)
    for shape in ((2, 3, 4, 4, 4), (3, 4, 4, 4)):
        summary = lucid.summary(layer, shape)
        assert summary.multiply_adds == mx.zeros(shape).size * 2 * 8
    assert lucid.summary(layer, input=(1, 3, 1, 1, 1)).multiply_adds == 3 * 2 * 8


def test_interpolation_and_pools_count_as_nothing():
    model = nn.Sequential(nn.MaxPool3d(2), nn.Upsample(scale_factor=2, mode="area"))
    summary = lucid.summary(model, (1, 2, 4, 4, 4))
    assert [layer.multiply_adds for layer in summary.layers] == [0, 0]
    assert summary.layers[1].output_shape == (1, 2, 4, 4, 4)


def test_text_and_html_hold_the_same_rows():
    summary = lucid.summary(Net(), (1, 4, 3, 3, 5))
    assert str(summary) == repr(summary)
    html = summary._repr_html_()
    for word in ("conv", "LazyConv3d", "(1, 8, 3, 3, 5)", "total"):
        assert word in str(summary)
        assert word in html
    assert max(map(len, str(summary).splitlines())) < 100


def test_what_only_scales_or_looks_up_multiplies_nothing():
    assert lucid.summary(nn.LayerNorm((4, 5)), (2, 4, 5)).multiply_adds == 0
    indices = lucid.zeros(2, 3, dtype="int32")
    assert lucid.summary(nn.Embedding(5, 4), indices).multiply_adds == 0
    assert lucid.summary(nn.Linear(5, 4), (2, 3, 5)).multiply_adds == 2 * 3 * 5 * 4
