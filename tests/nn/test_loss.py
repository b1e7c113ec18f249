"""Losses against their formulas in NumPy float64, and what they refuse."""

from __future__ import annotations

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(2, 4, 3, 4, 5))
LABELS = RNG.integers(0, 4, (2, 3, 4, 5))
WEIGHT = np.array([0.5, 1.0, 0.25, 2.0])
TARGET = RNG.normal(size=SCORES.shape)
CHANCE = RNG.uniform(0.05, 0.95, SCORES.shape)


def array(x) -> mx.array:
    x = np.asarray(x)
    return mx.array(x.astype(np.float32 if x.dtype.kind == "f" else np.int32))


def log_softmax(x):
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def one_hot(labels):
    return np.stack([labels == c for c in range(4)], 1).astype(float)


def huber(e, d):
    return np.where(abs(e) < d, e**2 / 2, d * (abs(e) - d / 2))


ERROR = SCORES - TARGET
ENTROPY = -(CHANCE * np.log(CHANCE) + (1 - CHANCE) * np.log(1 - CHANCE))
SIGMOID = 1 / (1 + np.exp(-SCORES))
# name: (what 'none' gives, its formula)
CASES = {
    "l1": (lambda **kw: F.l1_loss(array(SCORES), array(TARGET), **kw), abs(ERROR)),
    "mse": (lambda **kw: F.mse_loss(array(SCORES), array(TARGET), **kw), ERROR**2),
    "smooth_l1": (
        lambda **kw: F.smooth_l1_loss(array(SCORES), array(TARGET), beta=0.6, **kw),
        huber(ERROR, 0.6) / 0.6,
    ),
    "huber": (
        lambda **kw: F.huber_loss(array(SCORES), array(TARGET), delta=0.6, **kw),
        huber(ERROR, 0.6),
    ),
    "bce": (
        lambda **kw: F.binary_cross_entropy(array(CHANCE), array(CHANCE), **kw),
        ENTROPY,
    ),
    "bce_with_logits": (
        lambda **kw: F.binary_cross_entropy_with_logits(
            array(SCORES), array(CHANCE), **kw
        ),
        -(CHANCE * np.log(SIGMOID) + (1 - CHANCE) * np.log(1 - SIGMOID)),
    ),
    "nll": (
        lambda **kw: F.nll_loss(array(log_softmax(SCORES)), array(LABELS), **kw),
        -(log_softmax(SCORES) * one_hot(LABELS)).sum(1),
    ),
    "cross_entropy": (
        lambda **kw: F.cross_entropy(array(SCORES), array(LABELS), **kw),
        -(log_softmax(SCORES) * one_hot(LABELS)).sum(1),
    ),
    "cross_entropy_of_probabilities": (
        lambda **kw: F.cross_entropy(array(SCORES), array(CHANCE), **kw),
        -(log_softmax(SCORES) * CHANCE).sum(1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_loss_is_its_formula_in_every_reduction(name):
    function, want = CASES[name]
    close = {"rtol": 2e-5, "atol": 2e-6}
    np.testing.assert_allclose(np.array(function(reduction="none")), want, **close)
    np.testing.assert_allclose(function(reduction="sum").item(), want.sum(), **close)
    for mean in (function(), function(reduction="mean")):
        np.testing.assert_allclose(mean.item(), want.mean(), **close)


def test_class_weights_and_an_ignored_class_weigh_the_mean():
    each = -(log_softmax(SCORES) * one_hot(LABELS)).sum(1)
    factors = WEIGHT[LABELS] * (LABELS != 3)
    want = (each * factors).sum() / factors.sum()
    given = (array(LABELS), array(WEIGHT), 3)
    got = F.cross_entropy(array(SCORES), *given)
    assert got.item() == pytest.approx(want, rel=1e-5)
    got = F.nll_loss(array(log_softmax(SCORES)), *given)
    assert got.item() == pytest.approx(want, rel=1e-5)


def test_smoothing_spreads_a_target_over_all_classes():
    smooth = 0.8 * one_hot(LABELS) + 0.2 / 4
    want = -(log_softmax(SCORES) * smooth).sum(1).mean()
    got = F.cross_entropy(array(SCORES), array(LABELS), label_smoothing=0.2)
    assert got.item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("index", [4, -1, 255, 256, 2**32, 2**31])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_an_index_that_is_no_class_makes_the_loss_nan_and_has_no_gradient(
    index, reduction
):
    labels = np.array(LABELS)
    labels[0, 1, 2, 3] = index
    target = mx.array(labels)

    def loss(x):
        return F.cross_entropy(x, target, reduction=reduction).sum()

    assert np.isnan(loss(array(SCORES)).item())
    gradient = np.array(mx.grad(loss)(array(SCORES)))
    assert np.isfinite(gradient).all()
    assert (gradient[0, :, 1, 2, 3] == 0).all()
    ignoring = F.cross_entropy(array(SCORES), target, ignore_index=index)
    assert np.isfinite(ignoring.item())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int64", "uint32"])
def test_labels_of_any_integer_dtype_are_the_same(dtype):
    want = F.cross_entropy(array(SCORES), array(LABELS))
    target = lucid.tensor(LABELS, dtype=dtype)
    assert F.cross_entropy(array(SCORES), target).item() == want.item()


@pytest.mark.parametrize("classes", [256, 257, 300])
def test_classes_may_be_more_than_a_byte_holds(classes):
    scores = np.random.default_rng(0).normal(size=(1, classes, 4))
    labels = np.array([[0, 255, classes - 1, 3]])
    loss, gradient = mx.value_and_grad(F.cross_entropy)(array(scores), array(labels))
    target = np.swapaxes(np.eye(classes)[labels], 1, 2)
    want = -(log_softmax(scores) * target).sum(1).mean()
    assert loss.item() == pytest.approx(want, rel=1e-5)
    want = (np.exp(log_softmax(scores)) - target) / 4
    np.testing.assert_allclose(np.array(gradient), want, atol=1e-6)


def test_scores_of_minus_infinity_rule_out_a_class():
    scores = array([[[-np.inf, 1.0], [2.0, -np.inf], [0.0, 1.0]]])
    target = array([[1, 2]])
    got = F.cross_entropy(scores, target, reduction="none")
    want = [[np.log(1 + np.exp(-2)), np.log(2)]]
    np.testing.assert_allclose(np.array(got), want, rtol=1e-5)
    ignored = F.cross_entropy(scores, array([[-100, 2]]))
    assert ignored.item() == pytest.approx(np.log(2), rel=1e-5)
    gradient = mx.grad(lambda x: F.cross_entropy(x, target))(scores)
    assert np.isfinite(np.array(gradient)).all()


def test_scores_of_any_size_give_a_finite_loss():
    big = array([[-1e4, 1e4]])
    got = F.binary_cross_entropy_with_logits(big, array([[1.0, 0.0]]))
    assert got.item() == 1e4
    assert F.cross_entropy(big, array([0])).item() == 2e4


def test_positive_weights_weigh_the_positive_term():
    scores, target = array([0.0, 0.0]), array([1.0, 0.0])
    got = F.binary_cross_entropy_with_logits(
        scores, target, reduction="none", pos_weight=array([3.0])
    )
    assert got.tolist() == pytest.approx([3 * np.log(2), np.log(2)])


def test_certain_probabilities_cost_at_most_a_hundred():
    got = F.binary_cross_entropy(
        array([0.0, 1.0, 0.0]), array([1.0, 0.0, 0.0]), reduction="none"
    )
    assert got.tolist() == [100, 100, 0]
    outside = F.binary_cross_entropy(array([-0.1, 1.1]), array([1.0, 0.0]))
    assert np.isnan(outside.item())


def test_weighted_means_are_over_the_weights():
    x, t, w = array([1.0, 2.0]), array([0.0, 0.0]), array([1.0, 3.0])
    assert F.mse_loss(x, t, weight=w).item() == 13 / 4
    assert F.l1_loss(x, t, weight=w).item() == 7 / 4
    assert F.huber_loss(x, t, weight=w, reduction="sum").item() == 0.5 + 3 * 1.5
    got = F.binary_cross_entropy_with_logits(0 * x, t, weight=w).item()
    assert got == pytest.approx(2 * np.log(2))


def test_long_sums_are_exact_in_half_types_too():
    x = lucid.full((1, 1, 64, 64, 64), 0.1, dtype="float16")
    got = F.l1_loss(x, lucid.zeros_like(x))
    assert got.dtype == mx.float16
    assert got.item() == pytest.approx(0.1, rel=1e-3)
    volume = np.abs(RNG.normal(size=(1, 1, 64, 64, 64))).astype(np.float32)
    got = F.mse_loss(mx.array(volume), mx.zeros(volume.shape), reduction="sum")
    assert got.item() == pytest.approx((volume.astype(float) ** 2).sum(), rel=1e-6)


def test_a_loss_over_nothing_is_nan_as_a_mean_and_zero_as_a_sum():
    x, t = lucid.zeros(0, 3, 2, 2, 2), lucid.zeros(0, 2, 2, 2, dtype="int32")
    assert np.isnan(F.cross_entropy(x, t).item())
    assert F.cross_entropy(x, t, reduction="sum").item() == 0
    assert F.cross_entropy(x, t, reduction="none").shape == (0, 2, 2, 2)
    assert np.isnan(F.mse_loss(x, x).item())


X, T = lucid.ones(2, 3, 4, 4, 4), lucid.zeros(2, 4, 4, 4, dtype="int32")
REFUSED = [
    (lambda: F.mse_loss(X, X[:1]), ValueError, "`target` must have the shape"),
    (lambda: F.mse_loss(X, X, "avg"), ValueError, r"`reduction` \(='avg'\)"),
    (lambda: nn.L1Loss("avg"), ValueError, r"`reduction` \(='avg'\)"),
    (lambda: F.mse_loss(X, 0.0), TypeError, "`target` must be a lucid.Tensor"),
    (lambda: F.mse_loss(T, T), TypeError, r"`input` \(=int32\)"),
    (lambda: F.mse_loss(X, X, weight=X[0]), ValueError, "`weight` must have"),
    (lambda: F.mse_loss(X, X.astype(mx.complex64)), TypeError, "complex64"),
    (lambda: F.huber_loss(X, X, delta=0), ValueError, r"`delta` \(=0\)"),
    (lambda: F.smooth_l1_loss(X, X, beta=-1), ValueError, r"`beta` \(=-1\)"),
    (
        lambda: F.binary_cross_entropy_with_logits(X, X, pos_weight=lucid.ones(3)),
        ValueError,
        "`pos_weight` must broadcast",
    ),
    (lambda: F.cross_entropy(X, T[:1]), ValueError, r"`target` .* \(2, 4, 4, 4\)"),
    (lambda: F.cross_entropy(X, T[:, None]), ValueError, "`target` must have shape"),
    (lambda: F.cross_entropy(X, 1.0 * T), TypeError, r"`target` \(=float32\)"),
    (lambda: F.cross_entropy(X, T == 0), TypeError, r"`target` \(=bool\)"),
    (lambda: F.cross_entropy(X, X.astype(mx.int32)), TypeError, "probabilities"),
    (lambda: F.cross_entropy(X, X, ignore_index=1), ValueError, "`ignore_index`"),
    (lambda: F.cross_entropy(X, T, lucid.ones(2)), ValueError, "`weight` must .*3"),
    (lambda: F.cross_entropy(X, T, ignore_index=1.5), TypeError, "`ignore_index`"),
    (lambda: F.cross_entropy(X, T, label_smoothing=2), ValueError, "smoothing"),
    (lambda: F.cross_entropy(X[:, :0], T), ValueError, "`input` must have classes"),
    (lambda: F.cross_entropy(mx.array(1.0), T), ValueError, "`input` must have"),
    (lambda: F.nll_loss(X, X), TypeError, r"`target` \(=float32\)"),
    (lambda: nn.NLLLoss(weight=[1.0]), TypeError, "`weight` must be a lucid.Tensor"),
]


@pytest.mark.parametrize(("call", "error", "says"), REFUSED)
def test_what_does_not_fit_is_refused_by_name(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_weights_are_buffers_under_pytorchs_names():
    layer = nn.BCEWithLogitsLoss(lucid.ones(3), pos_weight=lucid.ones(1))
    assert list(layer.state_dict()) == ["weight", "pos_weight"]
    assert not layer.trainable_parameters()
    assert list(nn.CrossEntropyLoss(lucid.ones(3)).state_dict()) == ["weight"]
    assert nn.CrossEntropyLoss().state_dict() == {}


def test_unbatched_scores_have_one_label():
    got = F.cross_entropy(array([0.0, 0.0]), array(1), reduction="none")
    assert got.shape == ()
    assert got.item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("ignored", [2**31, -(2**40), 2**63 - 1])
def test_an_index_to_ignore_may_be_any_that_int64_holds(ignored):
    x, target = mx.zeros((1, 2, 1, 1, 2)), mx.array([[[[0, 1]]]])
    loss = nn.NLLLoss(ignore_index=ignored)(x, target)
    assert loss.item() == 0
    wide = mx.array([[[[0, ignored]]]], mx.int64)
    got = nn.CrossEntropyLoss(ignore_index=ignored)(x, wide)
    assert abs(got.item() - 0.6931472) < 1e-6
