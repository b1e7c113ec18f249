"""MONAI's losses in float64: every combination of options, and three gradients."""

from __future__ import annotations

import itertools
from typing import Any

import lucid
from lucid import nn
import mlx.core as mx
from monai import losses
import numpy as np
import pytest
import torch

from tests.oracle.test_losses_torch import check, draw

REDUCTIONS = ["none", "mean", "sum"]
FLAGS = [False, True]
SHAPE = (2, 4, 3, 4, 2)


def labels(shape: tuple[int, ...], classes: int) -> np.ndarray:
    """(N, 1, ...), without the last class in the second volume."""
    drawn = np.random.default_rng(0).integers(0, classes, (shape[0], 1, *shape[2:]))
    drawn[1] = np.minimum(drawn[1], classes - 2)
    return drawn


def one_hot(target: np.ndarray, classes: int) -> np.ndarray:
    return np.concatenate([target == c for c in range(classes)], 1).astype(np.float32)


def combinations(**choices: list[Any]) -> list[dict[str, Any]]:
    return [
        dict(zip(choices, values, strict=True))
        for values in itertools.product(*choices.values())
    ]


def compare(name: str, options: dict[str, Any], input: Any, target: Any) -> None:
    """Of scores and labels, or of two arrays of numbers in [0, 1]."""
    ours = getattr(nn, name)(**options)
    theirs = getattr(losses, name)(**options)
    theirs.load_state_dict(
        {k: torch.tensor(np.array(a)) for k, a in ours.state_dict().items()}
    )
    theirs = theirs.double()
    if target.dtype.kind == "i":
        mine, other = mx.array(target), torch.tensor(target)
    else:
        mine, other = mx.array(target), torch.tensor(target).double()
    check(
        f"{name} {options}",
        [input],
        lambda x: ours(x, mine),
        lambda x: theirs(x, other),
    )


ACTIVATIONS = [{"sigmoid": True}, {"softmax": True}, {}]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("to_onehot_y", FLAGS)
def test_dice_loss(activation, to_onehot_y):
    target = labels(SHAPE, 4)
    for options in combinations(
        include_background=FLAGS,
        squared_pred=FLAGS,
        jaccard=FLAGS,
        batch=FLAGS,
        reduction=REDUCTIONS,
        weight=[None, 0.5, [0.2, 1.0, 3.0]],
    ):
        if options["include_background"] and isinstance(options["weight"], list):
            options["weight"] = [*options["weight"], 0.0]
        compare(
            "DiceLoss",
            {"to_onehot_y": to_onehot_y, **activation, **options},
            draw(*SHAPE) if activation else draw(*SHAPE, low=0, high=1),
            target if to_onehot_y else one_hot(target, 4),
        )


@pytest.mark.parametrize("name", ["DiceLoss", "GeneralizedDiceLoss", "TverskyLoss"])
def test_soft_labels(name):
    soft = draw(*SHAPE, low=0, high=1)
    for options in combinations(batch=FLAGS, soft_label=FLAGS, reduction=REDUCTIONS):
        compare(name, {**options, "softmax": True}, draw(*SHAPE), soft)


@pytest.mark.parametrize("name", ["DiceLoss", "TverskyLoss", "FocalLoss"])
@pytest.mark.parametrize("index", [0, 2, -1, 255])
def test_an_ignored_index(name, index):
    hard = labels(SHAPE, 4)
    for kind, reduction, background in itertools.product(
        ["labels", "one-hot"], REDUCTIONS, FLAGS
    ):
        target = np.array(hard)
        if not 0 <= index < 4:
            target[0, 0, 1] = index
        options = {
            "ignore_index": index,
            "reduction": reduction,
            "include_background": background,
            "to_onehot_y": kind == "labels",
        }
        if name != "FocalLoss":
            options["softmax"] = True
        given = target if kind == "labels" else one_hot(target, 4)
        compare(name, options, draw(*SHAPE), given)


def test_generalized_dice_loss():
    target = labels(SHAPE, 4)
    for options in combinations(
        include_background=FLAGS,
        w_type=["square", "simple", "uniform"],
        batch=FLAGS,
        reduction=REDUCTIONS,
        softmax=FLAGS,
    ):
        options |= {"to_onehot_y": True, "sigmoid": not options["softmax"]}
        compare("GeneralizedDiceLoss", options, draw(*SHAPE), target)


def test_tversky_loss():
    target = labels(SHAPE, 4)
    for options in combinations(
        include_background=FLAGS,
        alpha=[0.5, 0.2],
        batch=FLAGS,
        reduction=REDUCTIONS,
        to_onehot_y=FLAGS,
        smooth_nr=[1e-5, 0.3],
    ):
        options |= {"softmax": True, "beta": 0.7}
        given = target if options["to_onehot_y"] else one_hot(target, 4)
        compare("TverskyLoss", options, draw(*SHAPE), given)


@pytest.mark.parametrize("use_softmax", FLAGS)
@pytest.mark.filterwarnings("ignore:.include_background=False")
def test_focal_loss(use_softmax):
    target = labels(SHAPE, 4)
    for options in combinations(
        include_background=FLAGS,
        gamma=[0.0, 1.5, 2.0],
        alpha=[None, 0.3, [0.1, 0.9, 0.4]],
        weight=[None, 0.5, [0.2, 1.0, 3.0]],
        reduction=REDUCTIONS,
        to_onehot_y=FLAGS,
    ):
        for name in ("alpha", "weight"):
            if options["include_background"] and isinstance(options[name], list):
                options[name] = [*options[name], 0.5]
        given = target if options["to_onehot_y"] else one_hot(target, 4)
        options["use_softmax"] = use_softmax
        compare("FocalLoss", options, draw(*SHAPE), given)


@pytest.mark.parametrize("activation", ACTIVATIONS[:2], ids=str)
def test_dice_and_cross_entropy(activation):
    target = labels(SHAPE, 4)
    for options in combinations(
        include_background=FLAGS,
        to_onehot_y=FLAGS,
        squared_pred=FLAGS,
        reduction=["mean", "sum"],
        batch=FLAGS,
        label_smoothing=[0.0, 0.2],
        lambda_ce=[1.0, 0.3],
    ):
        given = target if options["to_onehot_y"] else one_hot(target, 4)
        compare("DiceCELoss", {**activation, **options}, draw(*SHAPE), given)


@pytest.mark.parametrize("name", ["DiceCELoss", "DiceFocalLoss"])
@pytest.mark.filterwarnings("ignore:single channel prediction")
def test_a_single_class_goes_through_a_sigmoid(name):
    shape = (2, 1, 3, 4, 2)
    target = labels(shape, 2)
    for options in combinations(reduction=["mean", "sum"], to_onehot_y=FLAGS):
        options["sigmoid"] = True
        compare(name, options, draw(*shape), target.astype(np.float32))


@pytest.mark.parametrize("name", ["DiceCELoss", "DiceFocalLoss"])
def test_weights_of_both_losses(name):
    weight = np.float32([0.5, 1, 2, 0.1])
    ours = getattr(nn, name)(to_onehot_y=True, softmax=True, weight=mx.array(weight))
    theirs = getattr(losses, name)(
        to_onehot_y=True, softmax=True, weight=torch.tensor(weight)
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    target = labels(SHAPE, 4)
    theirs = theirs.double()
    check(
        name,
        [draw(*SHAPE)],
        lambda x: ours(x, mx.array(target)),
        lambda x: theirs(x, torch.tensor(target)),
    )


def test_dice_and_focal_loss():
    target = labels(SHAPE, 4)
    for options in combinations(
        include_background=FLAGS,
        to_onehot_y=FLAGS,
        reduction=REDUCTIONS,
        gamma=[2.0, 0.5],
        weight=[None, 0.4],
        alpha=[None, 0.3],
        lambda_focal=[1.0, 0.2],
    ):
        options["softmax"] = True
        given = target if options["to_onehot_y"] else one_hot(target, 4)
        compare("DiceFocalLoss", options, draw(*SHAPE), given)


@pytest.mark.parametrize("weights", [None, [0.5, 0.3, 0.2, 0.1, 0.05, 0.01], [2.0]])
@pytest.mark.parametrize("mode", ["same", "exp", "two"])
@pytest.mark.parametrize("size", [(9, 8, 6), (8, 8, 8)], ids=str)
def test_deep_supervision(mode, weights, size):
    inner = {"to_onehot_y": True, "softmax": True}
    ours = nn.DeepSupervisionLoss(nn.DiceCELoss(**inner), mode, weights)
    theirs = losses.DeepSupervisionLoss(losses.DiceCELoss(**inner), mode, weights)
    target = labels((2, 3, *size), 3).astype(np.float32)
    sizes = [tuple(max(1, n // 2**i) for n in size) for i in range(6)]
    outputs = [draw(2, 3, *size) for size in sizes]
    want = theirs([torch.tensor(x) for x in outputs], torch.tensor(target))
    got = ours([mx.array(x) for x in outputs], mx.array(target))
    assert got.item() == pytest.approx(want.item(), rel=2e-5)
    single = ours(mx.array(outputs[0]), lucid.tensor(target, dtype="uint8"))
    want = theirs(torch.tensor(outputs[0]), torch.tensor(target))
    assert single.item() == pytest.approx(want.item(), rel=2e-5)
    for levels in range(7):
        assert ours.get_weights(levels) == theirs.get_weights(levels)
