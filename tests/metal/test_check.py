"""A comparison agrees if every pair of arrays does."""

from __future__ import annotations

from lucid.metal.check import TOLERANCES, Comparison, row
import mlx.core as mx
import numpy as np
import pytest


@pytest.mark.parametrize("wrong", [1.1, np.nan, np.inf])
@pytest.mark.parametrize("place", range(3))
def test_one_wrong_array_of_several_is_seen(wrong, place):
    right = mx.ones(4)
    got = [right, right, right]

    def compute(dtype: mx.Dtype) -> list[tuple[mx.array, mx.array]]:
        return [(array.astype(dtype), right) for array in got]

    comparison = Comparison("a kernel", "a case", compute)
    assert row(comparison).agrees
    got[place] = mx.array([1.0, wrong, 1.0, 1.0])
    found = row(comparison)
    assert not found.agrees
    assert len(found.errors) == len(TOLERANCES)
