"""Initializers: what is drawn, from which interval, and that it is drawn in place."""

from __future__ import annotations

import math
from typing import Any

import lucid
from lucid import nn
from lucid.nn import init
import mlx.core as mx
import numpy as np
import pytest

# A weight of 4 groups: (O, I / groups, KD, KH, KW), 65536 numbers.
SHAPE = (256, 8, 2, 4, 4)
FAN_IN, FAN_OUT = 8 * 32, 256 * 32

INITIALIZERS = {
    "uniform_": init.uniform_,
    "normal_": init.normal_,
    "constant_": lambda tensor: init.constant_(tensor, 0.3),
    "zeros_": init.zeros_,
    "ones_": init.ones_,
    "xavier_uniform_": init.xavier_uniform_,
    "xavier_normal_": init.xavier_normal_,
    "kaiming_uniform_": init.kaiming_uniform_,
    "kaiming_normal_": init.kaiming_normal_,
}


@pytest.fixture(autouse=True)
def _seed():
    lucid.manual_seed(0)


def drawn(name: str, *args, **kwargs) -> np.ndarray:
    return np.array(getattr(init, name)(lucid.zeros(SHAPE), *args, **kwargs))


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    """65536 numbers: the ends are near, and the deciles 3.6 % of the width apart."""
    width = high - low
    assert low <= values.min() < low + 1e-3 * width
    assert high - 1e-3 * width < values.max() <= high
    deciles = np.quantile(values, np.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(
        (deciles - low) / width, np.linspace(0.1, 0.9, 9), atol=0.01
    )


def assert_normal(values: np.ndarray, mean: float, std: float) -> None:
    """Mean, deviation and tails of 65536 numbers; 4 standard errors are 1.6 %."""
    z = (values - mean) / std
    assert abs(z.mean()) < 0.016
    assert abs(z.std() - 1) < 0.012
    assert abs((np.abs(z) > 1).mean() - 0.3173) < 0.01
    assert abs((np.abs(z) > 2).mean() - 0.0455) < 0.005


@pytest.mark.parametrize(("args", "ends"), [((), (0, 1)), ((-3, -1), (-3, -1))])
def test_uniform_fills_its_interval(args, ends):
    assert_uniform(drawn("uniform_", *args), *ends)


@pytest.mark.parametrize(("args", "moments"), [((), (0, 1)), ((5, 0.5), (5, 0.5))])
def test_normal_has_its_mean_and_deviation(args, moments):
    assert_normal(drawn("normal_", *args), *moments)


def test_constants_fill():
    assert (drawn("constant_", -0.5) == -0.5).all()
    assert (drawn("zeros_") == 0).all()
    assert (drawn("ones_") == 1).all()


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_xavier_uniform_is_bounded_by_both_fans(gain):
    bound = gain * math.sqrt(6 / (FAN_IN + FAN_OUT))
    assert_uniform(drawn("xavier_uniform_", gain), -bound, bound)


@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_xavier_normal_deviates_by_both_fans(gain):
    std = gain * math.sqrt(2 / (FAN_IN + FAN_OUT))
    assert_normal(drawn("xavier_normal_", gain), 0, std)


KAIMING = [
    ({}, math.sqrt(2 / FAN_IN)),
    ({"a": math.sqrt(5)}, math.sqrt(1 / 3 / FAN_IN)),
    ({"mode": "fan_out"}, math.sqrt(2 / FAN_OUT)),
    ({"nonlinearity": "linear"}, math.sqrt(1 / FAN_IN)),
    ({"nonlinearity": "tanh", "mode": "fan_out"}, 5 / 3 / math.sqrt(FAN_OUT)),
]


@pytest.mark.parametrize(("options", "std"), KAIMING, ids=str)
def test_kaiming_uniform_has_the_deviation_of_its_fan(options, std):
    bound = math.sqrt(3) * std
    assert_uniform(drawn("kaiming_uniform_", **options), -bound, bound)


@pytest.mark.parametrize(("options", "std"), KAIMING, ids=str)
def test_kaiming_normal_has_the_deviation_of_its_fan(options, std):
    assert_normal(drawn("kaiming_normal_", **options), 0, std)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_fans_of_a_grouped_layer_count_one_group(groups):
    layer = nn.Conv3d(8, 512, (2, 3, 3), groups=groups)
    bound = 1 / math.sqrt(8 // groups * 18)
    assert layer.weight is not None
    assert layer.bias is not None
    for array in (layer.weight, layer.bias):
        largest = mx.abs(array).max().item()
        assert 0.98 * bound < largest <= bound
    init.kaiming_uniform_(layer.weight, mode="fan_out", nonlinearity="linear")
    bound = math.sqrt(3 / (512 * 18))
    assert 0.99 * bound < mx.abs(layer.weight).max().item() <= bound


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_tensor_itself_is_overwritten_and_returned(name):
    tensor = lucid.full((4, 3, 2, 2, 2), 9.0)
    alias = tensor
    assert INITIALIZERS[name](tensor) is tensor
    assert tensor.shape == (4, 3, 2, 2, 2)
    assert not (alias == 9).any()


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_a_half_tensor_is_the_rounded_float32_one(name, dtype):
    full = INITIALIZERS[name](lucid.zeros(8, 4, 3, 3, 3))
    lucid.manual_seed(0)
    half = INITIALIZERS[name](lucid.zeros(8, 4, 3, 3, 3, dtype=dtype))
    assert half.dtype == dtype
    assert mx.array_equal(half, full.astype(dtype))


@pytest.mark.parametrize("name", [n for n in INITIALIZERS if "_" in n[:-1]])
def test_a_seed_repeats_the_draw_and_draws_differ(name):
    first, second = drawn(name), drawn(name)
    lucid.manual_seed(0)
    assert (drawn(name) == first).all()
    assert (second != first).mean() > 0.99


@pytest.mark.parametrize("name", ["uniform_", "normal_", "constant_", "zeros_"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 0, 2)], ids=str)
def test_initializers_without_fans_take_any_shape(name, shape):
    assert INITIALIZERS[name](lucid.ones(shape)).shape == shape


@pytest.mark.parametrize(
    ("nonlinearity", "param", "gain"),
    [
        *[(name, None, 1) for name in ("linear", "conv1d", "conv2d", "conv3d")],
        ("sigmoid", None, 1),
        ("tanh", None, 5 / 3),
        ("relu", None, math.sqrt(2)),
        ("selu", None, 0.75),
        ("leaky_relu", None, math.sqrt(2 / 1.0001)),
        ("leaky_relu", 1, 1),
        ("leaky_relu", 0, math.sqrt(2)),
    ],
)
def test_gains_are_the_papers(nonlinearity, param, gain):
    assert init.calculate_gain(nonlinearity, param) == pytest.approx(gain, rel=1e-12)


FANNED = [name for name in INITIALIZERS if "xavier" in name or "kaiming" in name]


@pytest.mark.parametrize("name", FANNED)
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (3, 0, 2)], ids=str)
def test_a_tensor_without_fans_is_refused_and_unchanged(name, shape):
    tensor = lucid.ones(shape)
    with pytest.raises(ValueError, match="`tensor`"):
        INITIALIZERS[name](tensor)
    assert (tensor == 1).all()


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("tensor", [None, np.zeros((2, 2)), [[0.0]]], ids=repr)
def test_what_is_no_tensor_is_refused(name, tensor):
    with pytest.raises(TypeError, match="`tensor`"):
        INITIALIZERS[name](tensor)


def test_the_weight_of_a_layer_still_lazy_is_refused_with_the_remedy():
    with pytest.raises(TypeError, match=r"lazy.*materialize"):
        init.ones_(nn.LazyConv3d(2, 3).weight)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"mode": "fan_avg"}, "mode"),
        ({"nonlinearity": "gelu"}, "nonlinearity"),
        ({"nonlinearity": "leaky-relu"}, "nonlinearity"),
    ],
)
@pytest.mark.parametrize("initializer", [init.kaiming_uniform_, init.kaiming_normal_])
def test_unknown_modes_and_nonlinearities_are_refused(initializer, options, name):
    tensor = lucid.ones(3, 3)
    with pytest.raises(ValueError, match=rf"`{name}` \(='.*must be"):
        initializer(tensor, **options)
    assert (tensor == 1).all()


NO_NUMBERS: list[Any] = ["1", None, True, 1j, np.datetime64(1, "s"), mx.ones(2)]
NUMBERS: list[tuple[Any, str]] = [
    *((init.uniform_, name) for name in ("a", "b")),
    *((init.normal_, name) for name in ("mean", "std")),
    *((init.xavier_uniform_, "gain"), (init.xavier_normal_, "gain")),
    *((init.kaiming_uniform_, "a"), (init.kaiming_normal_, "a")),
]


def assert_refused(initializer: Any, error: Any, name: str, **options: Any) -> None:
    """By name, the tensor and the random state as they were."""
    tensor, key = mx.ones((4, 4, 3)), lucid.get_rng_state().tolist()
    with pytest.raises(error, match=f"`{name}`"):
        initializer(tensor, **options)
    assert tensor.tolist() == mx.ones((4, 4, 3)).tolist()
    assert lucid.get_rng_state().tolist() == key


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(("initializer", "name"), NUMBERS)
def test_what_is_no_real_number_draws_nothing(initializer, name, value):
    assert_refused(initializer, TypeError, name, **{name: value})


@pytest.mark.parametrize(
    ("initializer", "name", "value"),
    [
        *((init.uniform_, "a", value) for value in (2.0, np.nan, -np.inf, -1e39)),
        *((init.uniform_, "b", value) for value in (-1.0, np.inf, 10**400)),
        *((init.normal_, "std", value) for value in (-1.0, np.nan, np.inf)),
        *((init.normal_, "mean", value) for value in (np.nan, np.inf)),
        *((init.xavier_uniform_, "gain", value) for value in (-1, np.inf)),
        *((init.xavier_normal_, "gain", value) for value in (-1, np.nan)),
    ],
)
def test_a_bad_bound_draws_nothing(initializer, name, value):
    assert_refused(initializer, ValueError, name, **{name: value})


@pytest.mark.parametrize(("initializer", "name"), NUMBERS)
def test_drawing_needs_a_floating_tensor(initializer, name):
    with pytest.raises(TypeError, match=r"`tensor` \(=int32\)"):
        initializer(mx.ones((4, 4, 3), mx.int32))


def test_a_constant_is_what_the_tensor_holds():
    assert init.constant_(mx.zeros(2, mx.uint8), 255).tolist() == [255, 255]
    for value in (256, 0.5, np.nan):
        with pytest.raises(ValueError, match="`val`"):
            init.constant_(mx.zeros(2, mx.uint8), value)
    for value in NO_NUMBERS[:2]:
        with pytest.raises(TypeError, match="`val`"):
            init.constant_(mx.zeros(2), value)


def test_a_gain_is_of_a_known_name_and_a_real_slope():
    for name in (None, 1, ["relu"], np.array("relu")):
        with pytest.raises(TypeError, match="`nonlinearity`"):
            init.calculate_gain(name)
    for slope in (True, "1", 1j):
        with pytest.raises(TypeError, match="`param`"):
            init.calculate_gain("leaky_relu", slope)
    assert init.calculate_gain("leaky_relu", 1e300) == 0


def test_truncated_normals_lie_between_their_bounds():
    values = drawn("trunc_normal_", 1.0, 2.0, -1.0, 3.5)
    assert values.min() >= -1
    assert values.max() <= 3.5
    # Of N(0, 1) between -1 and 1.25: the formulas of mean and variance.
    low, high = -1.0, 1.25

    def density(z):
        return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    def below(z):
        return (1 + math.erf(z / math.sqrt(2))) / 2

    mass = below(high) - below(low)
    mean = (density(low) - density(high)) / mass
    spread = 1 + (low * density(low) - high * density(high)) / mass - mean**2
    z = (values - 1) / 2
    assert abs(z.mean() - mean) < 0.01
    assert abs(z.var() - spread) < 0.01


def test_truncation_far_out_is_warned_of():
    with pytest.warns(UserWarning, match="`mean`"):
        values = drawn("trunc_normal_", 0.0, 1.0, 3.0, 4.0)
    assert values.min() >= 3
    assert values.max() <= 4
    for arguments, name in (((0, 1, 2, 1), "`a`"), ((0, 0), "`std`")):
        with pytest.raises(ValueError, match=name):
            init.trunc_normal_(lucid.zeros(2), *arguments)


def test_half_precision_is_rounded_float32():
    for name in ("trunc_normal_", "orthogonal_"):
        lucid.manual_seed(3)
        full = getattr(init, name)(lucid.zeros(8, 8))
        lucid.manual_seed(3)
        half = getattr(init, name)(lucid.zeros(8, 8, dtype="float16"))
        assert mx.array_equal(half, full.astype(mx.float16))


def test_gains_of_transposed_convolutions():
    for axes in (1, 2, 3):
        assert init.calculate_gain(f"conv_transpose{axes}d") == 1
