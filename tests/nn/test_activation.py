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
    if "softmax" in name:
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
    for gelu in (lambda x: F.gelu(x, value), lambda _: nn.GELU(value)):
        with pytest.raises(ValueError, match=rf"`approximate` \(={value!r}\)"):
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
        "Softmax(dim=1)",
        "Softmax(dim=-1)",
    ]
    assert repr(nn.ReLU(inplace=True)) == "ReLU(inplace=True)"
