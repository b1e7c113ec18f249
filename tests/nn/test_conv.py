"""The layers' own part of a convolution: arguments, attributes, devices and types."""

import math

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest


def test_conv3d_computes_the_functional():
    x = lucid.randn(2, 4, 5, 6, 7)
    options = {"stride": (1, 2, 1), "padding": 1, "dilation": (1, 1, 2), "groups": 2}
    layer = nn.Conv3d(4, 6, 3, **options, padding_mode="circular")
    expected = F.conv3d(x, layer.weight, layer.bias, **options, padding_mode="circular")
    assert (layer(x) == expected).all()


def test_attributes_are_pytorchs():
    layer = nn.Conv3d(4, 6, 3, 2, (0, 1, 2), groups=2, bias=False)
    assert layer.kernel_size == (3, 3, 3)
    assert layer.stride == (2, 2, 2)
    assert layer.padding == (0, 1, 2)
    assert layer.dilation == (1, 1, 1)
    assert (layer.in_channels, layer.out_channels, layer.groups) == (4, 6, 2)
    assert layer.weight.shape == (6, 2, 3, 3, 3)
    assert layer.bias is None
    assert nn.Conv3d(1, 1, 3, padding="same").padding == "same"


def test_weights_fill_the_interval_of_pytorchs_rule():
    layer = nn.Conv3d(8, 64, (1, 3, 5), groups=2)
    bound = 1 / math.sqrt(4 * 15)
    for array in (layer.weight, layer.bias):
        assert mx.abs(array).max() <= bound
        assert mx.abs(array).max() > 0.9 * bound
    assert abs(layer.weight.mean().item()) < 0.05 * bound


@pytest.mark.parametrize("make", [nn.LazyConv3d, lambda *a, **k: nn.Conv3d(8, *a, **k)])
@pytest.mark.parametrize(
    ("arguments", "options", "error", "name"),
    [
        ((0, 3), {}, ValueError, "out_channels"),
        ((-1, 3), {}, ValueError, "out_channels"),
        ((2.0, 3), {}, TypeError, "out_channels"),
        ((True, 3), {}, TypeError, "out_channels"),
        (("4", 3), {}, TypeError, "out_channels"),
        ((4, 0), {}, ValueError, "kernel_size"),
        ((4, (3, 3)), {}, ValueError, "kernel_size"),
        ((4, (3, 3, 3, 3)), {}, ValueError, "kernel_size"),
        ((4, (3, 3, 1.5)), {}, TypeError, "kernel_size"),
        ((4, "3"), {}, TypeError, "kernel_size"),
        ((4, None), {}, TypeError, "kernel_size"),
        ((4, 3), {"stride": 0}, ValueError, "stride"),
        ((4, 3), {"stride": (1, 1, -1)}, ValueError, "stride"),
        ((4, 3), {"dilation": 0}, ValueError, "dilation"),
        ((4, 3), {"padding": -1}, ValueError, "padding"),
        ((4, 3), {"padding": "full"}, ValueError, "padding"),
        ((4, 3), {"padding": 1.0}, TypeError, "padding"),
        ((4, 3), {"padding": "same", "stride": 2}, ValueError, "padding"),
        ((4, 3), {"groups": 0}, ValueError, "groups"),
        ((4, 3), {"groups": 3}, ValueError, "groups"),
        ((4, 3), {"groups": 2.0}, TypeError, "groups"),
        ((4, 3), {"bias": 2}, TypeError, "bias"),
        ((4, 3), {"padding_mode": "wrap"}, ValueError, "padding_mode"),
        ((4, 3), {"padding_mode": None}, TypeError, "padding_mode"),
        ((4, 3), {"dtype": "float64"}, TypeError, "dtype"),
        ((4, 3), {"dtype": int}, TypeError, "dtype"),
        ((4, 3), {"dtype": "half"}, TypeError, "dtype"),
        ((4, 3), {"device": "cuda"}, ValueError, "device"),
        ((4, 3), {"device": 0}, TypeError, "device"),
    ],
)
def test_bad_arguments_are_refused_by_name(make, arguments, options, error, name):
    key = lucid.get_rng_state()
    with pytest.raises(error, match=f"`{name}`"):
        make(*arguments, **options)
    assert (lucid.get_rng_state() == key).all()


def test_bias_is_true_or_false_or_a_number_for_them():
    assert nn.Conv3d(1, 2, 3, bias=0).bias is None
    assert nn.Conv3d(1, 2, 3, bias=1).bias.shape == (2,)


def test_groups_must_divide_the_input_channels():
    with pytest.raises(ValueError, match=r"`groups` \(=3\) must divide `in_channels`"):
        nn.Conv3d(8, 3, 1, groups=3)


def test_a_layer_larger_than_memory_is_refused():
    with pytest.raises(ValueError, match="more than this machine can hold"):
        nn.Conv3d(10**5, 10**6, 3)
    layer = nn.LazyConv3d(10**9, 9)
    with pytest.raises(ValueError, match="more than this machine can hold"):
        layer(lucid.zeros(1, 100, 9, 9, 9))
    assert layer.in_channels is None


def test_numpy_integers_and_lists_are_sizes():
    layer = nn.Conv3d(np.int64(2), np.int32(4), [3, 1, 1], stride=np.int8(2))
    assert layer(lucid.zeros(1, 2, 5, 5, 5)).shape == (1, 4, 2, 3, 3)


@pytest.mark.parametrize("device", ["cpu", mx.cpu, mx.Device(mx.cpu), None])
def test_device_is_stored_by_name(device):
    layer = nn.Conv3d(1, 1, 1, device=device)
    assert layer.device == (None if device is None else "cpu")
    assert layer(lucid.zeros(1, 1, 1, 1, 1)).shape == (1, 1, 1, 1, 1)


def test_a_device_this_machine_lacks_is_refused():
    if mx.is_available(mx.Device(mx.gpu)):
        assert nn.Conv3d(1, 1, 1, device="metal").device == "gpu"
    else:
        with pytest.raises(ValueError, match="not available"):
            nn.Conv3d(1, 1, 1, device="metal")


@pytest.mark.parametrize("dtype", ["float32", mx.float16, np.float16, "bfloat16"])
def test_output_has_the_layers_dtype(dtype):
    layer = nn.Conv3d(2, 2, 1, dtype=dtype)
    x = lucid.ones(1, 2, 2, 2, 2, dtype=dtype)
    assert layer(x).dtype == layer.weight.dtype == x.dtype


def test_input_of_another_dtype_is_refused_by_name():
    layer = nn.Conv3d(2, 2, 1, dtype="bfloat16")
    message = r"`input` \(=float32\) must have the dtype of `weight` \(=bfloat16\)"
    with pytest.raises(TypeError, match=message):
        layer(lucid.ones(1, 2, 2, 2, 2))


def test_reset_parameters_keeps_dtype_and_follows_the_seed():
    layer = nn.Conv3d(2, 2, 1, dtype="float16")
    lucid.manual_seed(0)
    layer.reset_parameters()
    first = layer.weight
    lucid.manual_seed(0)
    layer.reset_parameters()
    assert layer.weight.dtype == mx.float16
    assert (layer.weight == first).all()
