"""Orthogonal, identity and sparse weights."""

from __future__ import annotations

import math

import lucid
from lucid import nn
from lucid.nn import init
import mlx.core as mx
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _seed():
    lucid.manual_seed(0)


@pytest.mark.parametrize(
    "shape", [(4, 4), (3, 7), (7, 3), (4, 2, 3, 3, 3), (64, 2, 1, 1, 1)], ids=str
)
def test_orthogonal_rows_or_columns(shape):
    values = np.array(init.orthogonal_(lucid.zeros(shape), gain=2.0), float)
    matrix = values.reshape(shape[0], -1) / 2
    product = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


def test_orthogonal_matrices_are_uniform():
    """Their traces have mean 0 and variance 1; not so without the signs of R."""
    traces = [
        float(np.trace(np.array(init.orthogonal_(lucid.zeros(4, 4)))))
        for _ in range(2000)
    ]
    assert abs(np.mean(traces)) < 0.1
    assert abs(np.var(traces) - 1) < 0.15
    assert init.orthogonal_(lucid.zeros(0, 3)).shape == (0, 3)
    with pytest.raises(ValueError, match="2 axes"):
        init.orthogonal_(lucid.zeros(3))


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_passes_the_input_on(groups):
    layer = nn.Conv3d(4, 4, 3, padding=1, groups=groups, bias=False)
    init.dirac_(layer.weight, groups)
    x = lucid.randn(1, 4, 3, 4, 5)
    assert mx.array_equal(layer(x), x)


def test_dirac_refuses():
    for tensor, groups, name in (
        (lucid.zeros(3, 3), 1, "`tensor`"),
        (lucid.zeros(3, 3, 3), 2, "`groups`"),
        (lucid.zeros(3, 3, 3), 0, "`groups`"),
    ):
        with pytest.raises(ValueError, match=name):
            init.dirac_(tensor, groups)
    assert init.dirac_(lucid.zeros(2, 0, 1)).shape == (2, 0, 1)


def test_eye():
    assert init.eye_(lucid.zeros(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match="`tensor`"):
        init.eye_(lucid.zeros(2))


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 1])
def test_sparse_columns(sparsity):
    values = np.array(init.sparse_(lucid.zeros(30, 500), sparsity, std=2.0))
    zeros = (values == 0).sum(axis=0)
    assert (zeros == math.ceil(sparsity * 30)).all()
    if sparsity < 1:
        assert abs(values[values != 0].std() - 2) < 0.1
    if sparsity == 0.5:  # at random places
        assert abs((values == 0).mean(axis=1) - 0.5).max() < 0.12


def test_sparse_refuses():
    for tensor, sparsity, name in (
        (lucid.zeros(3), 0.1, "`tensor`"),
        (lucid.zeros(3, 3), 1.1, "`sparsity`"),
    ):
        with pytest.raises(ValueError, match=name):
            init.sparse_(tensor, sparsity)
