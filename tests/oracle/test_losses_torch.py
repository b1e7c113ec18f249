"""PyTorch's losses in float64: every combination of options, and three gradients."""

from __future__ import annotations

import itertools
from typing import Any

import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest
import torch

from tests.oracle.tolerances import FLOAT32, distance

REDUCTIONS = ["none", "mean", "sum"]
SHAPES = [(5,), (3, 5), (2, 5, 4), (2, 5, 3, 4, 2)]
CLASS_OPTIONS = list(
    itertools.product([False, True], [-100, 2], [0.0, 0.3], REDUCTIONS)
)


def draw(*shape: int, low: float = -2, high: float = 2) -> np.ndarray:
    rng = np.random.default_rng([int(10 * low) + 100, int(10 * high) + 100])
    return rng.uniform(low, high, shape).astype(np.float32)


def pairs(array: np.ndarray) -> tuple[mx.array, torch.Tensor]:
    tensor = torch.tensor(array)
    return mx.array(array), tensor.double() if array.dtype.kind == "f" else tensor


def indices(shape: tuple[int, ...]) -> Any:
    """Class indices for scores of this shape, the first of them 1."""
    classes = shape[min(1, len(shape) - 1)]
    drawn = np.random.default_rng(1).integers(0, classes, (*shape[:1], *shape[2:]))
    drawn.flat[0] = 1
    return pairs(drawn if len(shape) > 1 else drawn[0])


def check(name: str, arrays: list[np.ndarray], ours: Any, theirs: Any) -> None:
    """The loss of `arrays`, its gradients, and the gradients of their squares."""
    xs = [mx.array(array) for array in arrays]
    ts = [torch.tensor(array).double().requires_grad_() for array in arrays]
    loss = theirs(*ts)
    cotangent = draw(*loss.shape, low=0.5, high=1.5)

    def weighted(xs: list[mx.array]) -> mx.array:
        return (ours(*xs) * mx.array(cotangent)).sum()

    def squares(xs: list[mx.array]) -> mx.array:
        return sum(g.square().sum() for g in mx.grad(weighted)(xs))

    total = (loss * torch.tensor(cotangent).double()).sum()
    first = torch.autograd.grad(total, ts, create_graph=True)
    second = torch.autograd.grad(
        sum(g.square().sum() for g in first), ts, materialize_grads=True
    )
    # A sum may cancel: what is small beside the largest number has no digits.
    for got, want in zip(
        [ours(*xs), *mx.grad(weighted)(xs), *mx.grad(squares)(xs)],
        [loss, *first, *second],
        strict=True,
    ):
        assert distance(got, want.detach().numpy(force=True)) <= 2 * FLOAT32, name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("labels", ["indices", "probabilities"])
def test_cross_entropy(shape, labels):
    classes = shape[min(1, len(shape) - 1)]
    for weighted, ignored, smoothing, reduction in CLASS_OPTIONS:
        weight = pairs(draw(classes, low=0.5)) if weighted else (None, None)
        options = {"reduction": reduction, "label_smoothing": smoothing}
        arrays = [draw(*shape)]
        if labels == "probabilities":
            arrays.append(draw(*shape, low=0.1, high=1))
            target = ()
        else:
            options["ignore_index"] = ignored
            target = indices(shape)
        check(
            f"{options}, weight={weighted}",
            arrays,
            lambda *xs, t=target[:1], w=weight[0], o=options: F.cross_entropy(
                *xs, *t, weight=w, **o
            ),
            lambda *xs, t=target[1:], w=weight[1], o=options: (
                torch.nn.functional.cross_entropy(*xs, *t, weight=w, **o)
            ),
        )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nll_loss(shape):
    classes = shape[min(1, len(shape) - 1)]
    ours, theirs = indices(shape)
    for weighted, ignored, _, reduction in CLASS_OPTIONS:
        w = pairs(draw(classes, low=0.5)) if weighted else (None, None)
        options = {"reduction": reduction, "ignore_index": ignored}
        check(
            f"{options}, weight={weighted}",
            [draw(*shape)],
            lambda x, w=w[0], o=options: F.nll_loss(x, ours, w, **o),
            lambda x, w=w[1], o=options: torch.nn.functional.nll_loss(
                x, theirs, w, **o
            ),
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4, 2, 3)], ids=str)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("l1_loss", {}),
        ("mse_loss", {}),
        ("huber_loss", {}),
        ("huber_loss", {"delta": 0.4}),
        ("smooth_l1_loss", {}),
        ("smooth_l1_loss", {"beta": 0.4}),
        ("smooth_l1_loss", {"beta": 0}),
    ],
)
def test_losses_of_numbers(name, options, shape, reduction):
    arrays = [draw(*shape), draw(*shape, low=-3, high=1)]
    options = {"reduction": reduction, **options}
    ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
    check(
        name, arrays, lambda *a: ours(*a, **options), lambda *a: theirs(*a, **options)
    )
    if name != "smooth_l1_loss":
        a, b = pairs(draw(*shape, low=0.5))
        check(
            f"weighted {name}",
            arrays,
            lambda *xs: ours(*xs, weight=a, **options),
            lambda *xs: theirs(*xs, weight=b, **options),
        )


def test_gradients_where_input_and_target_are_equal():
    x = draw(3, 4)
    for name in ("mse_loss", "huber_loss", "smooth_l1_loss"):
        ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
        check(name, [x, x], ours, theirs)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, (3, 1, 1), (2, 3, 4, 2), ()], ids=str)
@pytest.mark.parametrize("pos_weight", [None, (3, 1, 1), (1,)], ids=str)
def test_binary_cross_entropy(weight, pos_weight, reduction):
    arrays = [draw(2, 3, 4, 2), draw(2, 3, 4, 2, low=0.1, high=0.9)]
    w = (None, None) if weight is None else pairs(draw(*weight, low=0.5))
    p = (None, None) if pos_weight is None else pairs(draw(*pos_weight, low=0.5))
    name = "binary_cross_entropy_with_logits"
    check(
        name,
        arrays,
        lambda *a: getattr(F, name)(
            *a, weight=w[0], pos_weight=p[0], reduction=reduction
        ),
        lambda *a: getattr(torch.nn.functional, name)(
            *a, weight=w[1], pos_weight=p[1], reduction=reduction
        ),
    )
    if pos_weight is None:
        chances = [draw(2, 3, 4, 2, low=0.1, high=0.9), arrays[1]]
        check(
            "binary_cross_entropy",
            chances,
            lambda *a: F.binary_cross_entropy(*a, w[0], reduction),
            lambda *a: torch.nn.functional.binary_cross_entropy(
                *a, w[1], reduction=reduction
            ),
        )


def test_certain_probabilities_have_pytorchs_slopes():
    x, t = np.float32([0, 1, 0, 1, 0.5]), np.float32([1, 0, 0, 1, 1])
    tensor = torch.tensor(x).requires_grad_()
    loss = torch.nn.functional.binary_cross_entropy(tensor, torch.tensor(t))
    (want,) = torch.autograd.grad(loss, tensor)
    got = mx.grad(lambda x: F.binary_cross_entropy(x, mx.array(t)))(mx.array(x))
    np.testing.assert_allclose(np.array(got), want.numpy(), rtol=1e-5)
