"""Resampling, against scikit-image's `resize`, which nnU-Net calls."""

from __future__ import annotations

import itertools

import lucid
from lucid.inference import resample_volume
import mlx.core as mx
import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize

SHAPE = (6, 9, 7)
X = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def resized(x: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    return resize(x.astype(float), shape, order, mode="edge", anti_aliasing=False)


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("shape", [(9, 5, 13), (6, 9, 14), (1, 1, 1), (12, 18, 7)])
def test_voxels_nearly_cubic_are_resampled_at_once(order, shape):
    spacing = [old / new for old, new in zip(shape, SHAPE, strict=True)]
    got = resample_volume(
        mx.array(X), spacing, (1, 1, 1), shape, order, force_separate_z=False
    )
    assert got.dtype == lucid.float32
    np.testing.assert_allclose(np.array(got), resized(X, shape, order), atol=2e-6)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("long_before", [True, False])
@pytest.mark.parametrize("order_z", [0, 1, 3])
def test_slices_across_a_long_axis_are_resampled_apart(axis, long_before, order_z):
    old, new, shape = [1.0] * 3, [0.8] * 3, [8, 11, 9]
    (old if long_before else new)[axis] = 3.5
    shape[axis] = 11 if long_before else 3
    slices = np.moveaxis(X, axis, 0)
    within = tuple(np.delete(shape, axis))
    apart = np.stack([resized(plane, within, 3) for plane in slices])
    places = len(apart) / shape[axis] * (np.arange(shape[axis]) + 0.5) - 0.5
    grid = np.meshgrid(places, *map(np.arange, within), indexing="ij")
    want = ndimage.map_coordinates(apart, grid, order=order_z, mode="nearest")
    got = resample_volume(mx.array(X), old, new, shape, 3, order_z)
    want = np.moveaxis(want, 0, axis)
    np.testing.assert_allclose(np.array(got), want, atol=2e-6)


def test_two_long_axes_are_resampled_as_one_volume():
    shape = (3, 12, 9)
    got = resample_volume(mx.array(X), (1, 4, 4), (2, 3, 3.1), shape)
    np.testing.assert_allclose(np.array(got), resized(X, shape, 3), atol=2e-6)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.int16])
def test_any_numbers_become_float32(dtype):
    x = mx.array(np.round(X))  # all dtypes have these
    want = resample_volume(x, (2, 1, 1), (1, 1, 1))
    got = resample_volume(x.astype(dtype), (2, 1, 1), (1, 1, 1))
    assert got.dtype == lucid.float32
    assert mx.array_equal(got, want)


def test_the_extent_is_kept():
    for size, old, new in itertools.product((5, 8), (0.5, 1, 3), (0.7, 1, 2)):
        shape = resample_volume(
            lucid.zeros(2, size, 4, 4), (old, 1, 1), (new, 1, 1)
        ).shape
        assert shape == (2, max(1, round(size * old / new)), 4, 4)


def test_a_result_beyond_memory_is_refused():
    with pytest.raises(ValueError, match=r"`new_spacing`.* more than this machine"):
        resample_volume(lucid.zeros(2, 2, 2), (1, 1, 1), (1e-9, 1, 1))


def test_the_result_stays_in_the_inputs_range():
    box = lucid.zeros(8, 8, 8)
    box[2:5, 2:5, 2:5] = 1
    finer = np.array(resample_volume(box, (1, 1, 1), (0.3, 0.3, 0.3)))
    assert finer.min() == 0
    assert finer.max() == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"volume": lucid.zeros(2, 2)}, ValueError, r"\(D, H, W\)"),
        ({"volume": lucid.zeros(1, 0, 2, 2)}, ValueError, "hold voxels"),
        ({"volume": "x"}, TypeError, "`volume`"),
        ({"spacing": (1, 1)}, ValueError, "three sizes"),
        ({"spacing": (1, 0, 1)}, ValueError, "positive"),
        ({"new_spacing": (1, float("nan"), 1)}, ValueError, "`new_spacing`"),
        ({"new_spacing": 2}, ValueError, "three sizes"),
        ({"shape": (1, 0, 1)}, ValueError, "`shape`"),
        ({"order": 6}, ValueError, r"in \[0, 5\]"),
        ({"order_z": -1}, ValueError, "`order_z`"),
        ({"force_separate_z": "yes"}, TypeError, "`force_separate_z`"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    good = {
        "volume": lucid.zeros(2, 2, 2),
        "spacing": (1, 1, 1),
        "new_spacing": (2, 2, 2),
    }
    with pytest.raises(error, match=message):
        resample_volume(**(good | arguments))
