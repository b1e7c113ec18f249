"""Activations against their formulas in NumPy float64, as functions and as layers."""

from __future__ import annotations

import math

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

X = np.linspace(-6, 6, 4 * 5 * 7).astype(np.float32).reshape(4, 5, 7)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def phi(x):
    return (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def elu(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(x))


def softmax(x, axis):
    e = np.exp(x)
    return e / e.sum(axis, keepdims=True)


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# name: (layer, the same function, its formula)
CASES = {
    "relu": (nn.ReLU(), F.relu, lambda x: np.maximum(x, 0)),
    "gelu": (nn.GELU(), F.gelu, lambda x: x * phi(x)),
    "gelu_tanh": (nn.GELU("tanh"), lambda x: F.gelu(x, "tanh"), gelu_tanh),
    "silu": (nn.SiLU(), F.silu, lambda x: x * sigmoid(x)),
    "leaky_relu": (
        nn.LeakyReLU(),
        F.leaky_relu,
        lambda x: np.where(x > 0, x, 0.01 * x),
    ),
    "leaky_relu_slope": (
        nn.LeakyReLU(0.3),
        lambda x: F.leaky_relu(x, 0.3),
        lambda x: np.where(x > 0, x, 0.3 * x),
    ),
    "sigmoid": (nn.Sigmoid(), F.sigmoid, sigmoid),
    "tanh": (nn.Tanh(), F.tanh, np.tanh),
    "elu": (nn.ELU(0.7), lambda x: F.elu(x, 0.7), lambda x: elu(x, 0.7)),
    "selu": (
        nn.SELU(),
        F.selu,
        lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    ),
    "celu": (
        nn.CELU(0.7),
        lambda x: F.celu(x, 0.7),
        lambda x: 0.7 * elu(x / 0.7, 1.0),
    ),
    "mish": (nn.Mish(), F.mish, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "hardswish": (
        nn.Hardswish(),
        F.hardswish,
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
    ),
    "softplus": (nn.Softplus(), F.softplus, lambda x: np.log1p(np.exp(x))),
    "softplus_beta": (
        nn.Softplus(2.0, 30),
        lambda x: F.softplus(x, 2.0),
        lambda x: np.log1p(np.exp(2 * x)) / 2,
    ),
    "log_softmax": (
        nn.LogSoftmax(1),
        lambda x: F.log_softmax(x, 1),
        lambda x: np.log(softmax(x, 1)),
    ),
    "softmax": (nn.Softmax(1), lambda x: F.softmax(x, 1), lambda x: softmax(x, 1)),
    "softmax_last": (
        nn.Softmax(dim=-1),
        lambda x: F.softmax(x, dim=-1),
        lambda x: softmax(x, -1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_function_is_its_formula(name):
    _, function, formula = CASES[name]
    got = np.array(function(mx.array(X)))
    np.testing.assert_allclose(got, formula(X.astype(float)), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_layer_is_the_function(name):
    layer, function, _ = CASES[name]
    assert mx.array_equal(layer(mx.array(X)), function(mx.array(X)))


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_formulas_slope(name):
    _, function, formula = CASES[name]
    x = X.astype(float) + 0.02  # no voxel within a step of the kink at 0
    rows = np.arange(1, 6)[:, None]  # a cotangent that is not constant along an axis
    step = 1e-6
    got = mx.grad(lambda x: (function(x) * mx.array(rows)).sum())(
        mx.array(x.astype(np.float32))
    )
    if name == "log_softmax":
        want = rows - softmax(x, 1) * (rows + 0 * x).sum(1, keepdims=True)
    elif "softmax" in name:
        y = formula(x)
        axis = 1 if name == "softmax" else -1
        want = y * (rows - (rows * y).sum(axis, keepdims=True))
    else:
        want = rows * (formula(x + step) - formula(x - step)) / (2 * step)
    np.testing.assert_allclose(np.array(got), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_the_dtype_is_kept(name, dtype):
    layer, _, formula = CASES[name]
    x = mx.array(X).astype(dtype)
    got = layer(x)
    assert got.dtype == dtype
    want = formula(np.array(x.astype(mx.float32), float))
    # A few roundings of 8 and of 11 significant bits.
    bound = {mx.float16: 4e-3, mx.bfloat16: 3e-2}[dtype]
    np.testing.assert_allclose(
        np.array(got.astype(mx.float32)), want, rtol=bound, atol=bound
    )


def test_prelu_learns_a_slope_for_each_channel():
    weight = mx.array([0.1, 0.2, -0.3, 2.0, 0.0])
    got = np.array(F.prelu(mx.array(X), weight))
    slopes = np.array(weight)[:, None]
    np.testing.assert_allclose(got, np.where(X > 0, X, slopes * X), rtol=1e-6)
    gradient = mx.grad(lambda w: F.prelu(mx.array(X), w).sum())(weight)
    want = np.where(X > 0, 0, X).sum((0, 2))
    np.testing.assert_allclose(np.array(gradient), want, rtol=1e-5)


@pytest.mark.parametrize(
    ("weight", "error", "says"),
    [
        (lucid.ones(3), ValueError, r"`weight` must have shape \(1,\) or \(5,\)"),
        (lucid.ones(5, 1), ValueError, "`weight`"),
        (lucid.ones(5, dtype="float16"), TypeError, r"`weight` \(=float16\)"),
        (0.25, TypeError, "`weight` must be a lucid.Tensor"),
    ],
)
def test_prelu_refuses_another_weight(weight, error, says):
    with pytest.raises(error, match=says):
        F.prelu(lucid.ones(4, 5, 7), weight)


# A kink's own slope, and what the functions are at the ends of the numbers.
KINKS = {
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.3), 0.3, -math.inf),
    "leaky_relu(0)": (lambda x: F.leaky_relu(x, 0.0), 0.0, 0.0),
    "leaky_relu(2)": (lambda x: F.leaky_relu(x, 2.0), 2.0, -math.inf),
    "leaky_relu(-1)": (lambda x: F.leaky_relu(x, -1.0), -1.0, math.inf),
    "prelu": (lambda x: F.prelu(x, mx.array([0.3])), 0.3, -math.inf),
    "elu": (lambda x: F.elu(x, 0.3), 0.3, -0.3),
    "selu": (F.selu, 1.7580993408473766, -1.7580993408473766),
    "celu": (lambda x: F.celu(x, 0.3), 1.0, -0.3),
    "softplus": (F.softplus, 0.5, 0.0),
}


@pytest.mark.parametrize("name", KINKS)
def test_zero_counts_as_negative_and_infinity_has_its_limit(name):
    function, slope, lowest = KINKS[name]
    ends = mx.array([-math.inf, math.inf])
    assert function(ends).tolist() == pytest.approx([lowest, math.inf])
    gradient = mx.grad(lambda x: function(x).sum())(mx.array([0.0, 3.0]))
    high = 1.0507009873554805 if name == "selu" else 1.0
    assert gradient.tolist() == pytest.approx([slope, high], abs=0.05)


@pytest.mark.parametrize("name", ["leaky_relu", "prelu", "log_softmax"])
def test_plain_operations_and_forward_mode_give_the_same(name):
    function = {**KINKS, "log_softmax": [lambda x: F.log_softmax(x, 0)]}[name][0]
    x = mx.array([-1.5, 0.2, 3.0])
    (value,), (tangent,) = mx.jvp(function, [x], [x])
    with lucid.plain_operations():
        (plain,), (other,) = mx.jvp(function, [x], [x])
        gradient = mx.grad(lambda x: (function(x) * x).sum())(x)
    np.testing.assert_allclose(np.array(value), np.array(plain), rtol=1e-6)
    np.testing.assert_allclose(np.array(tangent), np.array(other), rtol=1e-5)
    want = mx.grad(lambda x: (function(x) * x).sum())(x)
    np.testing.assert_allclose(np.array(gradient), np.array(want), rtol=1e-5)


@pytest.mark.parametrize("name", ["sigmoid", "silu", "tanh", "gelu", "softmax"])
def test_large_inputs_saturate(name):
    _, function, _ = CASES[name]
    got = np.array(function(mx.array([[-1e4, 1e4]])))
    low, high = (-1, 1) if name == "tanh" else (0, 1)
    high = 1e4 if name in ("silu", "gelu") else high
    np.testing.assert_allclose(got, [[low, high]])


def test_a_layer_has_no_parameters_and_changes_no_input():
    for layer, _, _ in CASES.values():
        assert layer.state_dict() == {}
    x = mx.array([-1.0, 2.0])
    for layer in (nn.ReLU(inplace=True), nn.SiLU(True), nn.LeakyReLU(0.1, True)):
        layer(x)
        assert x.tolist() == [-1.0, 2.0]


@pytest.mark.parametrize("value", ["erf", "", None, True])
def test_gelu_refuses_an_unknown_approximation(value):
    error = ValueError if isinstance(value, str) else TypeError
    for gelu in (lambda x: F.gelu(x, value), lambda _: nn.GELU(value)):
        with pytest.raises(error, match=rf"`approximate` \(={value!r}\)"):
            gelu(lucid.ones(2))


def test_repr_shows_the_arguments():
    shown = [repr(layer) for layer, _, _ in CASES.values()]
    assert shown == [
        "ReLU()",
        "GELU(approximate='none')",
        "GELU(approximate='tanh')",
        "SiLU()",
        "LeakyReLU(negative_slope=0.01)",
        "LeakyReLU(negative_slope=0.3)",
        "Sigmoid()",
        "Tanh()",
        "ELU(alpha=0.7)",
        "SELU()",
        "CELU(alpha=0.7)",
        "Mish()",
        "Hardswish()",
        "Softplus(beta=1.0, threshold=20.0)",
        "Softplus(beta=2.0, threshold=30)",
        "LogSoftmax(dim=1)",
        "Softmax(dim=1)",
        "Softmax(dim=-1)",
    ]
    assert repr(nn.ReLU(inplace=True)) == "ReLU(inplace=True)"


def test_inplace_is_taken_and_changes_no_input():
    x = mx.array([-1.0, 2.0])
    assert F.relu(x, inplace=True).tolist() == [0.0, 2.0]
    assert F.leaky_relu(x, 0.5, inplace=True).tolist() == [-0.5, 2.0]
    assert mx.array_equal(F.silu(x, True), F.silu(x))
    assert x.tolist() == [-1.0, 2.0]


NO_NUMBERS = ["1", None, True, 1j, np.timedelta64(1, "ns"), mx.ones(2)]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    ("function", "layer", "name"),
    [
        (F.leaky_relu, nn.LeakyReLU, "negative_slope"),
        (F.elu, nn.ELU, "alpha"),
        (F.celu, nn.CELU, "alpha"),
        (F.softplus, nn.Softplus, "beta"),
        (F.softplus, nn.Softplus, "threshold"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_parameter_that_is_no_real_number_is_a_type_error(
    function, layer, name, value
):
    for call in (lambda **k: function(mx.ones(2), **k), layer):
        with pytest.raises(TypeError, match=f"`{name}`"):
            call(**{name: value})


@pytest.mark.parametrize("dim", [1.0, None, "0", True, (0,)], ids=repr)
def test_an_axis_that_is_no_int_is_a_type_error(dim):
    for function in (F.softmax, F.log_softmax):
        with pytest.raises(TypeError, match="`dim`"):
            function(mx.ones((2, 3)), dim)
    for layer in (nn.Softmax, nn.LogSoftmax):
        with pytest.raises(TypeError, match="`dim`"):
            layer(dim)


@pytest.mark.parametrize("dim", [2, -3])
def test_an_axis_that_the_input_has_not_is_a_value_error(dim):
    for function in (F.softmax, F.log_softmax):
        with pytest.raises(ValueError, match="`dim`"):
            function(mx.ones((2, 3)), dim)


@pytest.mark.parametrize("inplace", [None, 2, "yes", mx.ones(2)], ids=repr)
def test_inplace_is_a_flag(inplace):
    for layer in (nn.ReLU, nn.SiLU, nn.SELU, nn.Mish, nn.Hardswish):
        with pytest.raises(TypeError, match="`inplace`"):
            layer(inplace)


@pytest.mark.parametrize("value", [None, 1.0, [1.0], np.ones(2), np.datetime64(1, "s")])
def test_what_is_no_tensor_is_a_type_error_naming_input(value):
    for layer, _, _ in CASES.values():
        with pytest.raises(TypeError, match="`input`"):
            layer(value)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_softmax_of_half_types_sums_in_float32(dtype):
    x = (mx.arange(4096) % 7 / 8).astype(dtype)
    want = mx.softmax(x.astype(mx.float32))
    got = F.softmax(x, 0).astype(mx.float32)
    assert mx.abs(got / want - 1).max().item() < 0.01
