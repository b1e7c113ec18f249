"""Pools against PyTorch's: every option, ties, indices and gradients."""

from __future__ import annotations

import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest
import torch
import torch.nn.functional as theirs

from tests.oracle.tolerances import assert_close

torch.set_num_threads(2)


def drawn_options(rng, dilated):
    """Kernel, stride, padding, dilation, and a size that they fit."""
    kernel, stride = rng.integers(1, 5, (2, 3)).tolist()
    dilation = rng.integers(1, 4 if dilated else 2, 3).tolist()
    if rng.random() < 0.3:
        stride = kernel
    padding = [int(rng.integers(0, k // 2 + 1)) for k in kernel]
    size = [
        max(1, d * (k - 1) + 1 - 2 * p) + int(rng.choice([0, 0, 1, 2, 5]))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    return (*map(tuple, (kernel, stride, padding, dilation)), size)


def compare(ours, other, x, rng, name):
    """Output and gradient; ties everywhere."""
    tensor = torch.tensor(x).double().requires_grad_()
    y = other(tensor)
    if not torch.isfinite(y).all():
        return  # a window of padding alone, whose index PyTorch makes up
    dy = rng.standard_normal(y.shape).astype(np.float32)
    (exact,) = torch.autograd.grad(y, tensor, torch.tensor(dy).double())
    (got,), (gradient,) = mx.vjp(ours, [mx.array(x)], [mx.array(dy)])
    assert_close(got, y.detach().numpy(), f"output of {name}")
    assert_close(gradient, exact.numpy(), f"gradient of {name}")


@pytest.mark.parametrize("seed", range(4))
def test_max_pool3d_equals_pytorchs(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        *options, size = drawn_options(rng, dilated=True)
        options.append(bool(rng.integers(2)))
        x = rng.integers(0, 4, (2, 2, *size)).astype(np.float32)
        compare(
            lambda x, o=options: F.max_pool3d(x, *o),
            lambda x, o=options: theirs.max_pool3d(x, *o),
            *(x, rng, options),
        )
        y, places = theirs.max_pool3d(torch.tensor(x), *options, return_indices=True)
        if torch.isfinite(y).all():
            _, got = F.max_pool3d(mx.array(x), *options, return_indices=True)
            np.testing.assert_array_equal(np.array(got), places.numpy())


@pytest.mark.parametrize("seed", range(4))
def test_avg_pool3d_equals_pytorchs(seed):
    rng = np.random.default_rng(seed)
    for _ in range(40):
        kernel, stride, padding, _, size = drawn_options(rng, dilated=False)
        size = [max(n, k) for n, k in zip(size, kernel, strict=True)]
        flags = rng.integers(0, 2, 2).astype(bool).tolist()
        options = kernel, stride, padding, *flags, [None, None, 7, -2][rng.integers(4)]
        compare(
            lambda x, o=options: F.avg_pool3d(x, *o),
            lambda x, o=options: theirs.avg_pool3d(x, *o),
            rng.integers(0, 4, (2, 2, *size)).astype(np.float32),
            *(rng, options),
        )


@pytest.mark.parametrize("seed", range(2))
def test_adaptive_pools_equal_pytorchs(seed):
    rng = np.random.default_rng(seed)
    for _ in range(25):
        size, outputs = tuple(rng.integers(1, 20, 3)), tuple(rng.integers(1, 9, 3))
        outputs = tuple(map(int, outputs))
        x = rng.integers(0, 4, (2, 2, *size)).astype(np.float32)
        for name in ("adaptive_max_pool3d", "adaptive_avg_pool3d"):
            compare(
                lambda x, o=outputs, name=name: getattr(F, name)(x, o),
                lambda x, o=outputs, name=name: getattr(theirs, name)(x, o),
                *(x, rng, (name, size, outputs)),
            )
        _, want = theirs.adaptive_max_pool3d(
            torch.tensor(x), outputs, return_indices=True
        )
        _, got = F.adaptive_max_pool3d(mx.array(x), outputs, return_indices=True)
        np.testing.assert_array_equal(np.array(got), want.numpy())
