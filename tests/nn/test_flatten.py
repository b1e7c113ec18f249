"""Flatten and Identity, and what Flatten refuses."""

from __future__ import annotations

import lucid
from lucid import nn
import mlx.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize("start", range(-3, 3))
@pytest.mark.parametrize("end", range(-3, 3))
def test_merged_axes_are_numpys(start: int, end: int):
    x = np.arange(24).reshape(2, 3, 4)
    first, last = start % 3, end % 3
    if first > last:
        with pytest.raises(ValueError, match=r"`start_dim` .*`end_dim`"):
            nn.Flatten(start, end)(lucid.tensor(x))
        return
    want = x.reshape(*x.shape[:first], -1, *x.shape[last + 1 :])
    assert nn.Flatten(start, end)(lucid.tensor(x)).tolist() == want.tolist()


@pytest.mark.parametrize("name", ["start_dim", "end_dim"])
def test_axes_that_are_none_are_refused_by_name(name: str):
    for value in (1.0, None, "1", True, np.timedelta64(1, "s")):
        with pytest.raises(TypeError, match=f"`{name}`"):
            nn.Flatten(**{name: value})
    for value in (3, -4, 10**5000):
        with pytest.raises(ValueError, match=f"`{name}`"):
            nn.Flatten(**{name: value})(mx.ones((2, 3, 4)))


def test_more_than_mlx_can_count_is_refused():
    x = mx.broadcast_to(mx.array(True), (1, 2**20, 2**20))  # takes no memory
    with pytest.raises(ValueError, match="`input`"):
        nn.Flatten()(x)


def test_what_is_no_tensor_is_a_type_error():
    for value in (None, 1.0, np.ones((2, 3))):
        with pytest.raises(TypeError, match="`input`"):
            nn.Flatten()(value)


def test_identity_takes_any_arguments_and_returns_its_input():
    x = mx.ones((2, 3))
    assert nn.Identity(54, unused=True)(x) is x
