"""`F.grid_sample` and `F.affine_grid` against PyTorch's in float64."""

from __future__ import annotations

import itertools

import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest
import torch

from tests.oracle import uniform
from tests.oracle.tolerances import assert_close

OPTIONS = list(
    itertools.product(
        ("bilinear", "nearest"), ("zeros", "border", "reflection"), (False, True)
    )
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_grid_sample_equals_pytorchs(options):
    rng = np.random.default_rng(0)
    for _ in range(25):
        n, c, *sizes = rng.integers(1, 6, 8).tolist()
        x = uniform(rng, (n, c, *sizes[:3]))
        grid = rng.uniform(-2, 2, (n, *sizes[3:], 3)).astype(np.float32)
        exact = [torch.tensor(a).double().requires_grad_() for a in (x, grid)]
        want = torch.nn.functional.grid_sample(*exact, *options)
        dy = uniform(rng, want.shape)
        gradients = torch.autograd.grad(want, exact, torch.tensor(dy).double())
        (got,), ours = mx.vjp(
            lambda x, grid: F.grid_sample(x, grid, *options),
            [mx.array(x), mx.array(grid)],
            [mx.array(dy)],
        )
        assert_close(got, want.detach().numpy(), "output")
        for gradient, theirs in zip(ours, gradients, strict=True):
            # A grid's gradient may cancel: it is compared with what it is made of.
            off = np.abs(np.array(gradient) - theirs.numpy()).max()
            assert off <= 2e-5 * max(dy.sum(), theirs.abs().max().item())


@pytest.mark.parametrize("aligned", [False, True])
def test_affine_grid_equals_pytorchs(aligned):
    rng = np.random.default_rng(0)
    theta = uniform(rng, (2, 3, 4))
    for size in ((2, 1, 3, 4, 5), (2, 3, 2, 7, 4)):
        tensor = torch.tensor(theta, requires_grad=True)
        want = torch.nn.functional.affine_grid(tensor, list(size), aligned)
        dy = uniform(rng, want.shape)
        (theirs,) = torch.autograd.grad(want, tensor, torch.tensor(dy))
        (got,), (ours,) = mx.vjp(
            lambda theta, size=size: F.affine_grid(theta, size, aligned),
            [mx.array(theta)],
            [mx.array(dy)],
        )
        assert_close(got, want.detach().numpy(), "grid")
        assert_close(ours, theirs.numpy(), "gradient")
