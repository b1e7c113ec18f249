"""Losses of segmentation on little volumes one can count, and what they refuse."""

from __future__ import annotations

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

# Four voxels: the prediction has 3, the truth 2, and 1 is common.
PREDICTED = lucid.tensor([1.0, 1.0, 1.0, 0.0]).reshape(1, 1, 4, 1, 1)
TRUE = lucid.tensor([0, 0, 1, 1]).reshape(1, 1, 4, 1, 1)
EXACT = {"smooth_nr": 0.0, "smooth_dr": 0.0}


def rounded(loss: mx.array) -> float:
    return pytest.approx(loss.item(), abs=1e-6)


def test_dice_counts_the_common_voxels_twice():
    assert rounded(nn.DiceLoss(**EXACT)(PREDICTED, TRUE)) == 1 - 2 / 5
    assert rounded(nn.DiceLoss(jaccard=True, **EXACT)(PREDICTED, TRUE)) == 1 - 1 / 4


def test_tversky_weighs_false_positives_and_negatives():
    loss = nn.TverskyLoss(alpha=0.25, beta=0.5, **EXACT)
    assert rounded(loss(PREDICTED, TRUE)) == 1 - 1 / (1 + 0.25 * 2 + 0.5 * 1)


def test_generalized_dice_weighs_rare_classes_more():
    # 3 voxels of class 0 and 1 of class 1; all are called 0.
    scores = lucid.tensor([[1.0] * 4, [0.0] * 4]).reshape(1, 2, 4, 1, 1)
    labels = lucid.tensor([0, 0, 0, 1]).reshape(1, 1, 4, 1, 1)
    for kind, power in (("uniform", 0), ("simple", 1), ("square", 2)):
        loss = nn.GeneralizedDiceLoss(to_onehot_y=True, w_type=kind, **EXACT)
        common = 3 * 3.0**-power
        below = 7 * 3.0**-power + 1
        assert rounded(loss(scores, labels)) == 1 - 2 * common / below


def test_focal_without_focus_is_cross_entropy():
    scores = mx.random.normal((2, 3, 4, 4, 4))
    labels = mx.random.randint(0, 3, (2, 1, 4, 4, 4))
    softmax = nn.FocalLoss(to_onehot_y=True, gamma=0.0, use_softmax=True)
    want = F.cross_entropy(scores, labels[:, 0]) / 3
    assert rounded(softmax(scores, labels)) == pytest.approx(want.item(), rel=1e-5)
    target = (labels == mx.arange(3).reshape(3, 1, 1, 1)).astype(mx.float32)
    want = F.binary_cross_entropy_with_logits(scores, target)
    got = nn.FocalLoss(to_onehot_y=True, gamma=0.0)(scores, labels)
    assert rounded(got) == pytest.approx(want.item(), rel=1e-5)


def test_dice_and_cross_entropy_are_the_sum_of_both():
    scores = mx.random.normal((2, 3, 4, 4, 4))
    labels = mx.random.randint(0, 3, (2, 1, 4, 4, 4))
    options = {"to_onehot_y": True, "softmax": True}
    got = nn.DiceCELoss(lambda_ce=0.5, **options)(scores, labels)
    dice = nn.DiceLoss(**options)(scores, labels)
    want = dice + 0.5 * F.cross_entropy(scores, labels[:, 0])
    assert rounded(got) == pytest.approx(want.item(), rel=1e-5)


def test_outputs_at_several_resolutions_are_weighed():
    def loss(output, target):
        assert output.shape == target.shape
        return target.astype(mx.float32).mean()

    target = lucid.ones(1, 1, 8, 8, 8, dtype="uint8")
    outputs = [lucid.zeros(1, 1, n, n, n) for n in (8, 4, 2, 1, 1, 1)]
    got = nn.DeepSupervisionLoss(loss)(outputs, target)
    assert rounded(got) == 1 + 1 / 2 + 1 / 4 + 1 / 8 + 2 / 16
    assert rounded(nn.DeepSupervisionLoss(loss)(outputs[0], target)) == 1


def test_labels_of_any_dtype_are_the_same():
    scores = mx.random.normal((2, 3, 4, 4, 4))
    labels = mx.random.randint(0, 3, (2, 1, 4, 4, 4))
    loss = nn.DiceCELoss(to_onehot_y=True, softmax=True)
    want = loss(scores, labels).item()
    for dtype in (mx.uint8, mx.int64, mx.float32):
        assert loss(scores, labels.astype(dtype)).item() == want


@pytest.mark.parametrize("name", ["DiceLoss", "FocalLoss", "DiceCELoss"])
def test_a_label_that_is_no_class_makes_the_loss_nan(name):
    loss = getattr(nn, name)(to_onehot_y=True)
    scores, labels = lucid.ones(1, 3, 4, 4, 4), lucid.zeros(1, 1, 4, 4, 4)
    labels[0, 0, 1, 2, 3] = 3
    assert np.isnan(loss(scores, labels).item())
    if name != "DiceCELoss":
        ignoring = getattr(nn, name)(to_onehot_y=True, ignore_index=3)
        assert np.isfinite(ignoring(scores, labels).item())


def test_large_half_volumes_are_summed_in_float32():
    scores = lucid.zeros(1, 2, 64, 64, 64, dtype="float16")
    labels = lucid.zeros(1, 1, 64, 64, 64, dtype="uint8")
    loss = nn.DiceLoss(to_onehot_y=True, softmax=True)(scores, labels)
    assert loss.dtype == mx.float16
    assert loss.item() == pytest.approx(1 - (2 / 3) / 2, rel=1e-3)


def test_a_single_class_ignores_what_needs_more_with_a_warning():
    loss = nn.DiceLoss(include_background=False, to_onehot_y=True, softmax=True)
    with pytest.warns(UserWarning, match="single channel prediction") as caught:
        loss(PREDICTED, TRUE)
    assert [str(w.message).split("`")[1] for w in caught] == [
        "softmax=True",
        "to_onehot_y=True",
        "include_background=False",
    ]


def test_weights_are_buffers_under_monais_names():
    loss = nn.DiceCELoss(weight=lucid.ones(3), include_background=False)
    assert {k: v.shape for k, v in loss.state_dict().items()} == {
        "dice.class_weight": (2,),
        "cross_entropy.weight": (3,),
        "binary_cross_entropy.pos_weight": (3,),
    }
    assert loss.named_parameters() == []


X, Y = lucid.ones(2, 3, 4, 4, 4), lucid.zeros(2, 1, 4, 4, 4)
REFUSED = [
    (lambda: nn.DiceLoss(sigmoid=True, softmax=True), ValueError, "only one of"),
    (lambda: nn.DiceLoss(other_act="relu"), TypeError, "`other_act`"),
    (lambda: nn.DiceLoss(other_act=[("a", mx.ones(2))]), TypeError, "`other_act`"),
    (lambda: nn.DiceLoss(reduction="avg"), ValueError, "`reduction`"),
    (lambda: nn.DiceLoss(weight=[1, -1]), ValueError, "`weight`"),
    (lambda: nn.DiceLoss(ignore_index=0.5), TypeError, "`ignore_index`"),
    (lambda: nn.DiceLoss()(X, Y), ValueError, "`target` must have the shape"),
    (lambda: nn.DiceLoss(to_onehot_y=True)(X, X), ValueError, r"\(N, 1, ...\)"),
    (lambda: nn.DiceLoss()(X, X[0]), ValueError, "as many axes"),
    (lambda: nn.DiceLoss()(X[..., 0, 0, 0], X[..., 0, 0, 0]), ValueError, "voxels"),
    (lambda: nn.DiceLoss(weight=[1, 2])(X, X), ValueError, "`weight` .* 3 entries"),
    (lambda: nn.DiceLoss()(Y.astype(mx.int32), Y), TypeError, r"`input` \(=int32\)"),
    (lambda: nn.FocalLoss(alpha=[0.1])(X, X), ValueError, "`alpha` .* 3 entries"),
    (lambda: nn.FocalLoss(alpha="a"), TypeError, "`alpha`"),
    (lambda: nn.FocalLoss(weight=[1])(Y, Y), ValueError, "`weight`"),
    (lambda: nn.GeneralizedDiceLoss(w_type="cubic"), ValueError, "`w_type`"),
    (lambda: nn.TverskyLoss(alpha=None), TypeError, "`alpha`"),
    (lambda: nn.DiceCELoss(reduction="none"), ValueError, "`reduction`"),
    (lambda: nn.DiceCELoss(lambda_ce=-1), ValueError, r"`lambda_ce` \(=-1\)"),
    (lambda: nn.DiceCELoss(weight=[1.0]), TypeError, "`weight`"),
    (lambda: nn.DiceCELoss()(X, X[:, :2]), ValueError, "`target` must have 1"),
    (lambda: nn.DiceFocalLoss()(X, X[0]), ValueError, "as many axes"),
    (lambda: nn.DeepSupervisionLoss(3), TypeError, "`loss`"),
    (lambda: nn.DeepSupervisionLoss(F.l1_loss, "half"), ValueError, "`weight_mode`"),
    (lambda: nn.DeepSupervisionLoss(F.l1_loss)([], Y), ValueError, "`input`"),
]


@pytest.mark.parametrize(("call", "error", "says"), REFUSED)
def test_what_does_not_fit_is_refused_by_name(call, error, says):
    with pytest.raises(error, match=says):
        call()
