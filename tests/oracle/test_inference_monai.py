"""Sliding windows beside MONAI's own function."""

import itertools

from lucid.inference import sliding_window_inference
import mlx.core as mx
from monai.inferers import sliding_window_inference as monai_s
import numpy as np
import pytest
import torch

from tests.oracle import uniform

RNG = np.random.default_rng(0)


def position(x):
    """A number for each voxel of a window, so that misplaced windows show."""
    n = x.shape[2] * x.shape[3] * x.shape[4]
    xp = torch if isinstance(x, torch.Tensor) else mx
    return x * xp.arange(n).reshape(x.shape[2:]) / n


CASES = list(
    itertools.product(
        [((9, 8, 7), (4, 5, 3)), ((5, 12, 6), (8, 6, 7)), ((10, 10, 10), (None, 4, 0))],
        [0.0, 0.25, (0.5, 0.7, 0.1)],
        [("constant", 0.125), ("gaussian", 0.125), ("gaussian", (0.1, 0.3, 1.0))],
        [("constant", 0.5), ("replicate", 0.0)],
        [1, 4],
    )
)


@pytest.mark.parametrize(("shape", "overlap", "blend", "padding", "batch"), CASES)
def test_numbers_are_monai_s(shape, overlap, blend, padding, batch):
    size, window = shape
    x = uniform(RNG, (2, 2, *size))
    arguments = (window, batch, position, overlap, *blend, *padding)
    want = monai_s(torch.tensor(x, dtype=torch.float32), *arguments)
    got = sliding_window_inference(mx.array(x), *arguments)
    np.testing.assert_allclose(np.array(got), want.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize("size", [(12, 8, 8), (4, 4, 8)])
def test_outputs_of_other_sizes_are_monai_s(mode, size):
    def halved(x):
        return (position(x), x[:, :, ::2, ::2, ::2])  # MONAI fails the other way round

    x = uniform(RNG, (1, 1, *size))
    arguments = ((8, 4, 4), 2, halved, 0.5, mode)
    wants = monai_s(torch.tensor(x, dtype=torch.float32), *arguments)
    gots = sliding_window_inference(mx.array(x), *arguments)
    for got, want in zip(gots, wants, strict=True):
        np.testing.assert_allclose(np.array(got), want.numpy(), rtol=1e-5, atol=1e-6)
