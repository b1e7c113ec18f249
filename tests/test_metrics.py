"""Scores of little segmentations that one can count."""

from __future__ import annotations

import subprocess
import sys

import lucid
from lucid import metrics
import mlx.core as mx
import numpy as np
import pytest

LABELS = np.random.default_rng(0).integers(0, 3, (2, 1, 4, 5, 6))
TRUTHS = np.random.default_rng(1).integers(0, 3, (2, 1, 4, 5, 6))


def one_hot(labels: np.ndarray) -> mx.array:
    return mx.array(np.concatenate([labels == c for c in range(3)], 1).astype(np.int32))


def point(*where: int, size: int = 7) -> mx.array:
    volume = np.zeros((1, 1, size, size, size), np.uint8)
    volume[(0, 0, *where)] = 1
    return mx.array(volume)


def test_dice_counts_voxels_in_every_form():
    p, t = ([labels == c for c in range(3)] for labels in (LABELS, TRUTHS))
    want = [
        [2 * (p[c] & t[c])[n].sum() / (p[c][n].sum() + t[c][n].sum()) for c in range(3)]
        for n in range(2)
    ]
    indices = mx.array(LABELS), mx.array(TRUTHS)
    volumes = one_hot(LABELS), one_hot(TRUTHS)
    for y_pred, y in ((volumes[0], volumes[1]), (volumes[0], indices[1])):
        np.testing.assert_allclose(np.array(metrics.dice(y_pred, y)), want, rtol=1e-6)
    got = metrics.dice(*indices, num_classes=3, include_background=False)
    np.testing.assert_allclose(np.array(got), np.array(want)[:, 1:], rtol=1e-6)


def test_an_empty_class_scores_nan_one_or_zero():
    nothing, something = lucid.zeros(1, 1, 2, 2, 2), lucid.ones(1, 1, 2, 2, 2)
    assert np.isnan(metrics.dice(nothing, nothing).item())
    assert metrics.dice(nothing, nothing, ignore_empty=False).item() == 1
    assert metrics.dice(something, nothing, ignore_empty=False).item() == 0


def test_ignored_voxels_do_not_count():
    y = lucid.tensor([0, 1, 1, 255]).reshape(1, 1, 4, 1, 1)
    y_pred = lucid.tensor([0, 1, 0, 1]).reshape(1, 1, 4, 1, 1)
    got = metrics.dice(y_pred, y, num_classes=2, ignore_index=255)
    np.testing.assert_allclose(np.array(got), [[2 / 3, 2 / 3]], rtol=1e-6)


def test_many_voxels_are_counted_exactly():
    y = lucid.ones(1, 1, 260, 260, 260, dtype="bool")
    assert metrics.dice(y, y).item() == 1


@pytest.mark.parametrize(
    ("options", "distance"),
    [
        ({}, np.sqrt(14)),
        ({"distance_metric": "taxicab"}, 6),
        ({"distance_metric": "chessboard"}, 3),
        ({"spacing": 2}, 2 * np.sqrt(14)),
        ({"spacing": (1, 10, 100)}, np.sqrt(1 + 20**2 + 300**2)),
        ({"spacing": [[1, 10, 100]]}, np.sqrt(1 + 20**2 + 300**2)),
    ],
)
def test_two_points_are_as_far_apart_as_they_are(options, distance):
    got = metrics.hausdorff_distance(point(1, 1, 1), point(2, 3, 4), **options)
    assert got.item() == pytest.approx(distance, rel=1e-6)


def test_a_direction_and_a_percentile_leave_out_a_stray_voxel():
    clean, stray = point(1, 1, 1), point(1, 1, 1) + point(5, 1, 1)
    assert metrics.hausdorff_distance(clean, stray).item() == 4
    assert metrics.hausdorff_distance(stray, clean).item() == 4
    assert metrics.hausdorff_distance(clean, stray, directed=True).item() == 0
    assert metrics.hausdorff_distance(stray, clean, percentile=50).item() == 2


def test_a_solid_is_as_far_as_its_surface():
    box = np.zeros((1, 2, 9, 9, 9), np.float32)
    box[0, 1, 1:8, 1:8, 1:8] = 1
    hollow = box.copy()
    hollow[0, 1, 3:6, 3:6, 3:6] = 0
    got = metrics.hausdorff_distance(mx.array(box), mx.array(hollow))
    assert got.tolist() == [[1]]  # the hollow's inner surface is one voxel inside


def test_an_empty_class_is_nan_or_infinitely_far():
    nothing = 0 * point(0, 0, 0)
    assert np.isnan(metrics.hausdorff_distance(nothing, nothing).item())
    for pair in ((nothing, point(1, 1, 1)), (point(1, 1, 1), nothing)):
        assert metrics.hausdorff_distance(*pair).item() == np.inf


X = lucid.ones(2, 3, 4, 4, 4)
REFUSED = [
    (lambda: metrics.dice(X, X[:1]), ValueError, "`y_pred` and `y`"),
    (lambda: metrics.dice(X, X[..., 0]), ValueError, "`y_pred` and `y`"),
    (lambda: metrics.dice(X, X[:, :2]), ValueError, "`y` must have 1 or 3 channels"),
    (lambda: metrics.dice(X, 1), TypeError, "`y` must be a lucid.Tensor"),
    (lambda: metrics.dice(X, X, num_classes=0), ValueError, "`num_classes`"),
    (lambda: metrics.dice(X, X, ignore_index=0.5), TypeError, "`ignore_index`"),
    (lambda: metrics.hausdorff_distance(X, X[:, :1]), ValueError, "one shape"),
    (
        lambda: metrics.hausdorff_distance(X, X, distance_metric="cosine"),
        ValueError,
        "`distance_metric`",
    ),
    (lambda: metrics.hausdorff_distance(X, X, percentile=101), ValueError, "`percen"),
    (lambda: metrics.hausdorff_distance(X, X, spacing=(1, 2)), ValueError, "`spacing`"),
    (lambda: metrics.hausdorff_distance(X, X, spacing=-1), ValueError, "`spacing`"),
    (lambda: metrics.hausdorff_distance(X, X, spacing="a"), TypeError, "`spacing`"),
]


@pytest.mark.parametrize(("call", "error", "says"), REFUSED)
def test_what_does_not_fit_is_refused_by_name(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_without_scipy_the_error_says_what_to_install():
    program = """
import sys
sys.modules["scipy"] = None
import lucid
x = lucid.ones(1, 1, 2, 2, 2)
lucid.metrics.dice(x, x)
try:
    lucid.metrics.hausdorff_distance(x, x)
except ImportError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert "needs SciPy: pip install scipy" in ran.stdout
