"""The exponential of negative numbers against NumPy's in float64."""

from __future__ import annotations

import math
import sys

from lucid.ops.exponential import exp_of_negative
import mlx.core as mx
import numpy as np
import pytest


def test_every_magnitude_is_exact_to_float32():
    x = -np.geomspace(1e-30, 86.9, 200_001).astype(np.float32)
    want = np.exp(x.astype(np.float64))
    got = np.array(exp_of_negative(mx.array(x)), np.float64)
    # MLX's own, where it is used, is less exact.
    bound = 2e-7 if sys.platform == "linux" else 3e-6
    assert (np.abs(got - want) <= bound * want + 2e-38).all()


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)], ids=str)
def test_the_ends_and_every_shape(shape):
    assert (exp_of_negative(mx.zeros(shape)) == 1).all()
    assert (exp_of_negative(mx.full(shape, -math.inf)) == 0).all()
    assert (exp_of_negative(mx.full(shape, -1e30)) == 0).all()
    assert mx.isnan(exp_of_negative(mx.full(shape, math.nan))).all()


def test_large_arrays_are_exact_everywhere_and_keep_their_order():
    x = -np.random.default_rng(0).uniform(0, 80, (3, 601, 701)).astype(np.float32)
    want = np.exp(x.astype(np.float64))
    for axes in ((0, 1, 2), (2, 0, 1)):
        got = np.array(exp_of_negative(mx.array(x).transpose(axes)), np.float64)
        assert np.allclose(got, want.transpose(axes), rtol=3e-6, atol=2e-38)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_types_stay(dtype):
    y = exp_of_negative(mx.array([-1.0], dtype))
    assert y.dtype == dtype
    assert y.item() == pytest.approx(math.exp(-1), rel=4e-3)


def test_mapped_it_is_the_same():
    x = -mx.random.uniform(0, 50, (3, 5))
    assert mx.array_equal(mx.vmap(exp_of_negative)(x), exp_of_negative(x))


@pytest.mark.slow  # a C++ compiler's time
def test_compiled_it_is_the_same():
    x = -mx.random.uniform(0, 50, (3, 5))
    got = mx.compile(exp_of_negative)(x)
    assert mx.allclose(got, exp_of_negative(x), 1e-6).item()
