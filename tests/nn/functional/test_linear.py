"""Linear maps and unit vectors against NumPy."""

import math

import lucid
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle.tolerances import assert_close

RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.uniform(0.5, 1.5, (5, 7)), RNG.uniform(0.5, 1.5, 5)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=str)
@pytest.mark.parametrize("lead", [(), (3,), (2, 3, 4), (0,)], ids=str)
def test_linear_is_the_product_and_the_bias(lead, dtype):
    x, w, b = (
        mx.array(a.astype(np.float32)).astype(dtype)
        for a in (np.random.default_rng(1).uniform(0.5, 1.5, (*lead, 7)), WEIGHT, BIAS)
    )
    x64, w64, b64 = (np.array(a.astype(mx.float32), float) for a in (x, w, b))
    assert_close(F.linear(x, w), x64 @ w64.T, "without bias", dtype)
    assert_close(F.linear(x, w, b), x64 @ w64.T + b64, "with bias", dtype)


@pytest.mark.parametrize("p", [1, 2, 2.5, 3, math.inf])
@pytest.mark.parametrize("dim", [0, 1, -1, (1, 2)])
def test_a_normalized_vector_has_length_one(p, dim):
    x = np.random.default_rng(2).standard_normal((3, 4, 5)).astype(np.float32)
    axes = dim if isinstance(dim, tuple) else (dim,)
    sizes = np.abs(x.astype(float))
    if p == math.inf:
        norm = sizes.max(axes, keepdims=True)
    else:
        norm = (sizes**p).sum(axes, keepdims=True) ** (1 / p)
    assert_close(F.normalize(mx.array(x), p, dim), x / norm, "unit vectors")


def test_the_zero_vector_stays_and_has_a_finite_gradient():
    x = lucid.zeros(2, 3)
    for p in (1, 2, 3, math.inf):
        assert (F.normalize(x, p) == 0).all()
        gradient = mx.grad(lambda x, p=p: F.normalize(x, p, eps=0.5).sum())(x)
        assert mx.array_equal(gradient, mx.full((2, 3), 2.0))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: F.linear(lucid.ones(2, 3), lucid.ones(4, 2)), ValueError, "`input`"),
        (lambda: F.linear(lucid.ones(2, 3), lucid.ones(3)), ValueError, "`weight`"),
        (
            lambda: F.linear(lucid.ones(2, 3), lucid.ones(4, 3), lucid.ones(3)),
            ValueError,
            "`bias`",
        ),
        (
            lambda: F.linear(lucid.ones(2, 3), lucid.ones(4, 3, dtype="float16")),
            TypeError,
            "`weight`",
        ),
        (lambda: F.normalize(lucid.ones(2, 3), dim=2), ValueError, "`dim`"),
        (lambda: F.normalize(lucid.ones(2, 3), p="2"), TypeError, "`p`"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, error, says):
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize("shape", [(0,), (2, 0), (3, 4, 0)])
def test_a_map_of_nothing_is_its_bias(shape):
    bias = lucid.tensor([1.0, 2.0])
    output = F.linear(lucid.ones(*shape), lucid.ones(2, 0), bias)
    assert output.shape == (*shape[:-1], 2)
    assert mx.all(output == bias)
