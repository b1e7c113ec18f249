"""Learning rates against their formulas, and against what one can count."""

from __future__ import annotations

import lucid
from lucid import nn, optim
import pytest


def rates(optimizer, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        optimizer.update(nn.Module(), {})
        found.append(optimizer.learning_rate.item())
    return found


def test_polynomial_decay_is_its_formula_and_stays_at_its_end():
    schedule = optim.polynomial_decay(0.01, 4, end=0.001)
    got = rates(optim.SGD(schedule), 6)
    left = [1, 3 / 4, 2 / 4, 1 / 4, 0, 0]
    assert got == pytest.approx([0.001 + 0.009 * t**0.9 for t in left], rel=1e-6)
    line = rates(optim.Adam(optim.polynomial_decay(1.0, 4, power=1)), 3)
    assert line == pytest.approx([1, 0.75, 0.5])


def plateau(numbers, optimizer=None, **options) -> list[float]:
    optimizer = optimizer or optim.SGD(1.0)
    scheduler = optim.ReduceLROnPlateau(optimizer, factor=0.5, **options)
    found = []
    for number in numbers:
        scheduler.step(number)
        found.append(optimizer.learning_rate.item())
    return found


def test_a_plateau_lowers_the_rate_after_patience():
    assert plateau([3, 2, 2, 2, 2], patience=1) == [1, 1, 1, 0.5, 0.5]
    assert plateau([1, 2, 2, 1.9], mode="max", patience=0) == [1, 1, 0.5, 0.25]
    assert plateau([1, 1, 1, 1], patience=0, cooldown=2) == [1, 0.5, 0.5, 0.5]
    assert plateau([1, 1, 1], patience=0, min_lr=0.4) == [1, 0.5, pytest.approx(0.4)]
    assert plateau([1, 0.95, 0.85], patience=0, threshold=0.1) == [1, 0.5, 0.5]
    wide = {"threshold": 0.2, "threshold_mode": "abs"}
    assert plateau([1, 0.85, 0.7], patience=0, **wide) == [1, 0.5, 0.5]


def test_a_plateau_takes_arrays_and_lowers_every_group():
    groups = optim.MultiOptimizer([optim.SGD(1.0), optim.Adam(0.5)], [lambda *_: True])
    plateau([lucid.tensor(1.0), lucid.tensor(float("nan"))], groups, patience=0)
    rates = [each.learning_rate.item() for each in groups.optimizers]
    assert rates == [0.5, 0.25]


def test_a_plateau_goes_on_from_its_state():
    first = optim.ReduceLROnPlateau(optim.SGD(1.0), patience=2)
    for number in (3, 2, 2, 2):
        first.step(number)
    optimizer = optim.SGD(1.0)
    second = optim.ReduceLROnPlateau(optimizer, patience=2)
    second.load_state_dict(first.state_dict())
    second.step(2)
    assert optimizer.learning_rate.item() == pytest.approx(0.1)
    with pytest.raises(ValueError, match="lacks"):
        second.load_state_dict({"best": 1.0})


SGD = optim.SGD(1.0)
REFUSED = [
    (lambda: optim.polynomial_decay(1.0, 0), ValueError, "`decay_steps`"),
    (lambda: optim.polynomial_decay("a", 1), TypeError, "`init`"),
    (lambda: optim.polynomial_decay(1.0, 1, power=0), ValueError, "`power`"),
    (lambda: optim.ReduceLROnPlateau(1.0), TypeError, "`optimizer`"),
    (
        lambda: optim.ReduceLROnPlateau(optim.SGD(optim.cosine_decay(1.0, 5))),
        ValueError,
        "schedule",
    ),
    (lambda: optim.ReduceLROnPlateau(SGD, "low"), ValueError, "`mode`"),
    (lambda: optim.ReduceLROnPlateau(SGD, factor=1), ValueError, "`factor`"),
    (lambda: optim.ReduceLROnPlateau(SGD, patience=0.5), TypeError, "`patience`"),
    (lambda: optim.ReduceLROnPlateau(SGD).step("x"), TypeError, "`metrics`"),
]


@pytest.mark.parametrize(("call", "error", "says"), REFUSED)
def test_what_does_not_fit_is_refused_by_name(call, error, says):
    with pytest.raises(error, match=says):
        call()
