"""The transposed layers' own part: arguments, `output_size`, their first call."""

import math

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import pytest


def test_it_computes_the_functional():
    x = lucid.randn(2, 4, 3, 4, 5)
    options = {"stride": 2, "padding": (0, 1, 1), "output_padding": (1, 0, 1)}
    layer = nn.ConvTranspose3d(4, 6, 3, **options, groups=2)
    expected = F.conv_transpose3d(x, layer.weight, layer.bias, **options, groups=2)
    assert mx.array_equal(layer(x), expected)


def test_weights_fill_the_interval_of_pytorchs_rule():
    lucid.manual_seed(0)
    layer = nn.ConvTranspose3d(64, 8, (1, 3, 5), groups=2)
    bound = 1 / math.sqrt(4 * 15)
    for array in (layer.weight, layer.bias):
        assert mx.abs(array).max() <= bound
        assert mx.abs(array).max() > 0.7 * bound


@pytest.mark.parametrize("make", [nn.ConvTranspose3d, nn.LazyConvTranspose3d])
def test_output_size_says_which_of_several(make):
    channels = (3,) if make is nn.ConvTranspose3d else ()
    layer = make(*channels, 2, 3, stride=(2, 3, 1), padding=1)
    x = lucid.randn(1, 3, 4, 4, 4)
    for size in ((7, 10, 4), [8, 11, 4], (7, 12, 4)):
        assert layer(x, output_size=size).shape == (1, 2, *size)
    assert layer(x, (1, 2, 8, 10, 4)).shape == (1, 2, 8, 10, 4)
    assert layer(x[0], (2, 8, 10, 4)).shape == (2, 8, 10, 4)


@pytest.mark.parametrize("make", [nn.ConvTranspose3d, nn.LazyConvTranspose3d])
@pytest.mark.parametrize(
    ("size", "error"),
    [
        ((6, 10, 4), ValueError),
        ((9, 10, 4), ValueError),
        ((7, 10, 5), ValueError),
        ((7, 10), ValueError),
        ((1, 7, 10, 4), ValueError),
        ((7.0, 10, 4), TypeError),
        (7, TypeError),
    ],
)
def test_another_output_size_is_refused(make, size, error):
    channels = (3,) if make is nn.ConvTranspose3d else ()
    layer = make(*channels, 2, 3, stride=(2, 3, 1), padding=1)
    with pytest.raises(error, match="`output_size`"):
        layer(lucid.ones(1, 3, 4, 4, 4), size)
    if not channels:
        assert layer.in_channels is None


@pytest.mark.parametrize(
    "make", [nn.LazyConvTranspose3d, lambda *a, **k: nn.ConvTranspose3d(8, *a, **k)]
)
@pytest.mark.parametrize(
    ("arguments", "options", "error", "name"),
    [
        ((0, 3), {}, ValueError, "out_channels"),
        ((4, 0), {}, ValueError, "kernel_size"),
        ((4, 3), {"stride": 0}, ValueError, "stride"),
        ((4, 3), {"padding": "same"}, TypeError, "padding"),
        ((4, 3), {"output_padding": 1}, ValueError, "output_padding"),
        ((4, 3), {"output_padding": -1}, ValueError, "output_padding"),
        ((4, 3), {"groups": 3}, ValueError, "groups"),
        ((4, 3), {"bias": 2}, TypeError, "bias"),
        ((4, 3), {"padding_mode": "reflect"}, ValueError, "padding_mode"),
        ((4, 3), {"padding_mode": "wrap"}, ValueError, "padding_mode"),
        ((4, 3), {"dtype": "float64"}, TypeError, "dtype"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name(make, arguments, options, error, name):
    key = lucid.get_rng_state()
    with pytest.raises(error, match=f"`{name}`"):
        make(*arguments, **options)
    assert mx.array_equal(lucid.get_rng_state(), key)


@pytest.mark.parametrize(
    "shape", [(1, 3, 4, 4, 4), (1, 2, 4, 4, 0), (4, 4, 4)], ids=str
)
def test_a_first_call_that_fails_leaves_the_layer_lazy(shape):
    layer = nn.LazyConvTranspose3d(4, 2, 2, groups=2)
    key = lucid.get_rng_state()
    with pytest.raises(ValueError, match="`"):
        layer(lucid.ones(shape))
    assert layer.in_channels is None
    assert mx.array_equal(lucid.get_rng_state(), key)
    assert layer(lucid.ones(1, 2, 3, 3, 3)).shape == (1, 4, 6, 6, 6)


def test_a_first_step_trains_it():
    model = nn.Sequential(nn.LazyConv3d(4, 2, 2), nn.LazyConvTranspose3d(1, 2, 2))
    step = nn.value_and_grad(model, lambda x: (model(x) - x).square().mean())
    _, grads = step(lucid.ones(1, 1, 4, 4, 4))
    assert grads["layers"][1]["weight"].shape == (4, 1, 2, 2, 2)
