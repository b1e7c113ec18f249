"""MONAI's scores: every combination of options."""

from __future__ import annotations

import itertools

from lucid import metrics
import mlx.core as mx
from monai import metrics as theirs
import numpy as np
import pytest
import torch

FLAGS = [False, True]


def volumes(seed: int) -> np.ndarray:
    """Blobs of three classes, the last of them only in the first of two volumes."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (2, 1, 3, 3, 3))
    coarse[1] = np.minimum(coarse[1], 1)
    return np.kron(coarse, np.ones((3, 3, 4), int))


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.concatenate([labels == c for c in range(3)], 1).astype(np.float32)


def assert_same(got: mx.array, want: torch.Tensor) -> None:
    np.testing.assert_allclose(np.array(got), want.numpy(), rtol=1e-5)


@pytest.mark.parametrize("ignore_index", [None, 0, 2, 7])
def test_dice(ignore_index):
    p, t = volumes(0), volumes(1)
    t[0, 0, 2] = 7 if ignore_index == 7 else 1
    for background, empty, indices in itertools.product(FLAGS, FLAGS, FLAGS):
        options = {
            "include_background": background,
            "ignore_empty": empty,
            "ignore_index": ignore_index,
            "num_classes": 3,
        }
        a, b = (p, t) if indices else (one_hot(p), one_hot(t))
        want = theirs.compute_dice(torch.tensor(a), torch.tensor(b), **options)
        assert_same(metrics.dice(mx.array(a), mx.array(b), **options), want)


@pytest.mark.filterwarnings("ignore:the (prediction|ground truth) of class")
@pytest.mark.filterwarnings("ignore:monai:FutureWarning")
@pytest.mark.parametrize("metric", ["euclidean", "chessboard", "taxicab"])
def test_hausdorff_distance(metric):
    a, b = one_hot(volumes(2)), one_hot(volumes(3))
    b[1, 2, 4, 4, 4] = 1  # a class that the prediction lacks
    spacings = [None, 0.5, (1.0, 2.0, 3.5), [[1, 2, 3], [0.5, 0.5, 2]]]
    for background, directed, percentile, spacing in itertools.product(
        FLAGS, FLAGS, [None, 0, 50, 95, 100], spacings
    ):
        options = {
            "include_background": background,
            "distance_metric": metric,
            "percentile": percentile,
            "directed": directed,
            "spacing": spacing,
        }
        want = theirs.compute_hausdorff_distance(
            torch.tensor(a), torch.tensor(b), **options
        )
        if percentile:
            want[1, -1] = np.inf  # MONAI has the NaN of a percentile of infinities
        got = metrics.hausdorff_distance(mx.array(a), mx.array(b), **options)
        assert_same(got, want)
