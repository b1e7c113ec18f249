"""Joining tensors: NumPy's results, errors that name what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lucid
import mlx.core as mx
import numpy as np
import pytest

JOINS = {"cat": lucid.cat, "stack": lucid.stack}
Join = Callable[..., mx.array]


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat_and_stack_are_numpys(dim: int):
    a, b = np.arange(6).reshape(2, 3), np.arange(6, 12).reshape(2, 3)
    tensors = lucid.tensor(a), lucid.tensor(b)
    assert lucid.cat(tensors, dim).tolist() == np.concatenate([a, b], dim).tolist()
    assert (
        lucid.stack(list(tensors), dim=dim).tolist() == np.stack([a, b], dim).tolist()
    )


@pytest.mark.parametrize("join", JOINS.values(), ids=JOINS)
@pytest.mark.parametrize("tensors", [[], (), mx.ones(3), [1, 2], [np.ones(2)], None])
def test_joining_what_are_no_tensors_is_a_type_error(join: Join, tensors: Any):
    with pytest.raises(TypeError, match="`tensors`"):
        join(tensors)


@pytest.mark.parametrize("join", JOINS.values(), ids=JOINS)
def test_an_axis_that_is_none_is_refused_by_name(join: Join):
    pair = [mx.zeros((2, 3)), mx.zeros((2, 3))]
    for dim in (3, -4, 10**5000):
        with pytest.raises(ValueError, match="`dim`"):
            join(pair, dim)
    for dim in (1.0, None, True, "0", (0,)):
        with pytest.raises(TypeError, match="`dim`"):
            join(pair, dim)


@pytest.mark.parametrize("join", JOINS.values(), ids=JOINS)
@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 1), (3, 4)], ids=str)
def test_shapes_that_do_not_fit_are_named(join: Join, shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"`tensors` .*\(2, 3\)"):
        join([mx.zeros((2, 3)), mx.zeros(shape)])


def test_numbers_cannot_be_concatenated():
    with pytest.raises(ValueError, match="`tensors`"):
        lucid.cat([mx.array(1), mx.array(2)])
    assert lucid.stack([mx.array(1), mx.array(2)]).tolist() == [1, 2]


def test_more_than_the_machine_or_mlx_can_count_is_refused():
    row = mx.broadcast_to(mx.array(True), (2**31 - 1,))  # takes no memory
    with pytest.raises(ValueError, match="`tensors`"):
        lucid.cat([row, row])
    wide = mx.broadcast_to(mx.array(1.0), (2**31 - 1,))
    with pytest.raises(ValueError, match="`tensors`"):
        lucid.stack([wide] * 1000)
