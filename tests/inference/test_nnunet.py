"""What nnU-Net's plans ask of a volume, and the way back to its grid."""

from __future__ import annotations

import json
from typing import Any

import lucid
from lucid.inference import nnunet_preprocess
import mlx.core as mx
import numpy as np
import pytest
from skimage.transform import resize

SCHEMES = [
    "CTNormalization",
    "ZScoreNormalization",
    "RescaleTo01Normalization",
    "NoNormalization",
]
CT = {"mean": 0.3, "std": 1.2, "percentile_00_5": -1.0, "percentile_99_5": 1.5}


def plans_of(
    spacing=(1, 1, 1), axes=(0, 1, 2), masked=False, **settings: Any
) -> dict[str, Any]:
    return {
        "transpose_forward": list(axes),
        "foreground_intensity_properties_per_channel": {"0": CT},
        "configurations": {
            "3d_fullres": {
                "spacing": list(spacing),
                "patch_size": [8, 8, 8],
                "normalization_schemes": SCHEMES,
                "use_mask_for_norm": [masked] * 4,
                **settings,
            }
        },
    }


def head() -> np.ndarray:
    """Four channels of numbers in a box of zeros, with a hole in it."""
    volume = np.zeros((4, 12, 14, 13), np.float32)
    drawn = np.random.default_rng(0).normal(size=(4, 9, 11, 9))
    volume[:, 2:11, 1:12, 3:12] = drawn
    volume[:, 5, 5, 5] = 0
    volume[:, 2, 1, 3:6] = 0  # at the border, so no hole
    return volume


@pytest.mark.parametrize("masked", [False, True])
def test_channels_are_cropped_and_normalized(masked):
    x = head()
    box = x[:, 2:11, 1:12, 3:12].astype(np.float64)
    inside = np.ones(box.shape[1:], bool)
    inside[0, 0, :3] = False
    values = box[1][inside] if masked else box[1]
    scored = (box[1] - values.mean()) / values.std()
    want = [
        (np.clip(box[0], -1, 1.5) - 0.3) / 1.2,
        np.where(inside, scored, box[1]) if masked else scored,
        (box[2] - box[2].min()) / (box[2].max() - box[2].min()),
        box[3],
    ]
    ready = nnunet_preprocess(mx.array(x), (1, 1, 1), plans_of(masked=masked))
    assert ready.patch_size == (8, 8, 8)
    np.testing.assert_allclose(np.array(ready.data), want, atol=2e-6)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.int16])
def test_volumes_of_any_numbers_are_taken(dtype):
    x = mx.array(np.round(head()))  # all dtypes have these
    want = nnunet_preprocess(x, (1, 1, 1), plans_of()).data
    got = nnunet_preprocess(x.astype(dtype), (1, 1, 1), plans_of()).data
    assert got.dtype == lucid.float32
    assert mx.array_equal(got, want)


def test_axes_are_turned_and_voxels_resampled():
    plans = plans_of((0.9, 1.0, 2.0), (2, 0, 1))
    ready = nnunet_preprocess(mx.array(head()), (1.5, 1.0, 1.2), plans)
    box = head()[3, 2:11, 1:12, 3:12].transpose(2, 0, 1).astype(float)
    shape = (round(9 * 1.2 / 0.9), round(9 * 1.5), round(11 / 2))
    want = resize(box, shape, 3, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(np.array(ready.data[3]), want, atol=2e-6)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_labels_come_back_on_the_volumes_own_grid(axes):
    plans = plans_of(axes=axes)
    ready = nnunet_preprocess(mx.array(head()), (1, 1, 1), plans)
    drawn = np.random.default_rng(1).integers(0, 3, ready.data.shape[1:])
    logits = mx.array((drawn == np.arange(3)[:, None, None, None]).astype(np.float32))
    got = ready.segmentation(logits)
    assert got.dtype == lucid.uint8
    want = np.zeros((12, 14, 13))
    want[2:11, 1:12, 3:12] = drawn.transpose(np.argsort(axes))
    np.testing.assert_array_equal(np.array(got), want)


def test_logits_are_resampled_linearly_before_the_largest_is_taken():
    ready = nnunet_preprocess(mx.array(head()), (1, 1, 1), plans_of((1.4, 0.8, 1.1)))
    shape = (3, *ready.data.shape[1:])
    logits = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    finer = [
        resize(x.astype(float), (9, 11, 9), 1, mode="edge", anti_aliasing=False)
        for x in logits
    ]
    got = np.array(ready.segmentation(mx.array(logits)))
    np.testing.assert_array_equal(got[2:11, 1:12, 3:12], np.argmax(finer, axis=0))


def test_regions_are_painted_in_the_order_of_the_data_set(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    (tmp_path / "plans.json").write_text(json.dumps(plans_of()))
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": labels, "regions_class_order": [1, 2]})
    )
    ready = nnunet_preprocess(mx.array(head()), (1, 1, 1), tmp_path / "plans.json")
    drawn = np.random.default_rng(3).normal(size=(2, 9, 11, 9)).astype(np.float32)
    want = np.where(drawn[1] > 0, 2, np.where(drawn[0] > 0, 1, 0))
    got = np.array(ready.segmentation(mx.array(drawn)))
    np.testing.assert_array_equal(got[2:11, 1:12, 3:12], want)
    with pytest.raises(ValueError, match="2 regions"):
        ready.segmentation(lucid.zeros(3, 9, 11, 9))


def test_regions_need_their_order():
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    with pytest.raises(ValueError, match="`regions_class_order`"):
        nnunet_preprocess(
            mx.array(head()), (1, 1, 1), plans_of(), dataset={"labels": labels}
        )


def test_a_volume_of_zeros_is_all_background():
    ready = nnunet_preprocess(lucid.zeros(4, 3, 3, 3), (1, 1, 1), plans_of(masked=True))
    assert ready.data.shape == (4, 3, 3, 3)
    assert not mx.isnan(ready.data).any()
    logits = lucid.zeros(3, 3, 3, 3)
    assert (ready.segmentation(logits) == 0).all()


def test_many_labels_take_two_bytes():
    ready = nnunet_preprocess(lucid.ones(4, 1, 1, 1), (1, 1, 1), plans_of())
    assert ready.segmentation(mx.arange(300.0)[:, None, None, None]).item() == 299


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalization_schemes": ["Log"] * 4}, "no normalization 'Log'"),
        ({"normalization_schemes": ["NoNormalization"]}, "1 channels"),
        ({"resampling_fn_data": "other"}, "no resampling 'other'"),
        ({"spacing": [1, 1]}, "3-D"),
        ({"previous_stage": "3d_lowres"}, "of one stage"),
    ],
)
def test_plans_beyond_lucid_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        nnunet_preprocess(mx.array(head()), (1, 1, 1), plans_of(**change))


def test_plans_that_lack_something_are_refused():
    volume = mx.array(head())
    for lost in ("spacing", "patch_size", "normalization_schemes"):
        plans = plans_of()
        del plans["configurations"]["3d_fullres"][lost]
        with pytest.raises(ValueError, match=f"`plans`: '3d_fullres' has no '{lost}'"):
            nnunet_preprocess(volume, (1, 1, 1), plans)
    with pytest.raises(TypeError, match=r"`plans` \(=3\)"):
        nnunet_preprocess(volume, (1, 1, 1), 3)
    with pytest.raises(ValueError, match=r"`spacing`.* more than this machine"):
        nnunet_preprocess(volume, (1, 1, 1), plans_of((1e-9, 1, 1)))


def test_bad_volumes_and_logits_are_refused():
    with pytest.raises(ValueError, match=r"\(C, D, H, W\)"):
        nnunet_preprocess(lucid.zeros(4, 4, 4), (1, 1, 1), plans_of())
    with pytest.raises(ValueError, match="must be one of '3d_fullres'"):
        nnunet_preprocess(mx.array(head()), (1, 1, 1), plans_of(), "3d_lowres")
    ready = nnunet_preprocess(mx.array(head()), (1, 1, 1), plans_of())
    with pytest.raises(ValueError, match=r"\(K, 9, 11, 9\)"):
        ready.segmentation(lucid.zeros(3, 9, 11, 8))
