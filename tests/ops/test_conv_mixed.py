"""Formulations whose passes are computed by others, in every mix of layouts."""

from __future__ import annotations

import itertools

from lucid.ops.conv_grid import GRID
from lucid.ops.conv_mixed import mixed
from lucid.ops.conv_mlx import MLX
from lucid.ops.conv_plain import COLUMNS, MLX_PLAIN
import mlx.core as mx
import numpy as np
import pytest

from tests.ops.test_formulations import check, function_of, geometry_of
from tests.oracle import SPATIAL, Problem, problem, to_mlx
from tests.oracle.tolerances import assert_close

MIXES = list(itertools.product((GRID, MLX), (COLUMNS, MLX_PLAIN), (GRID, MLX)))


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: " / ".join(map(str, mix)))
def test_outputs_and_gradients_equal_the_oracles(mix):
    for spatial in SPATIAL[:2]:
        check(mixed(*mix), problem("dense", spatial=spatial), np.random.default_rng(0))


def test_second_gradients_equal_those_of_one_formulation():
    case = Problem((2, 3, 3, 4, 5), (4, 3, 2, 3, 3), padding=1)
    arrays = to_mlx(case.draw(np.random.default_rng(0)))

    def slopes(formulation):
        function = function_of(formulation, case)

        def slope(*xs: mx.array) -> mx.array:
            gradients = mx.grad(lambda *xs: function(*xs).square().mean(), (0, 1, 2))
            return sum(g.square().mean() for g in gradients(*xs))

        return mx.grad(slope, (0, 1, 2))(*arrays)

    for got, want in zip(slopes(mixed(MLX, GRID, MLX)), slopes(COLUMNS), strict=True):
        assert_close(got, np.array(want), "second gradient")


def test_a_mix_takes_what_all_take():
    mix = mixed(MLX, GRID, MLX)
    assert not mix.takes_half
    assert not mix.every_mode
    assert not mix.plain
    assert mix.channels_last
    grouped = Problem((1, 4, 3, 3, 3), (4, 2, 1, 1, 1), groups=2)
    assert not mix.fits(geometry_of(grouped))
    assert mixed(GRID, GRID, COLUMNS).fits(geometry_of(grouped))


def test_a_mix_of_one_is_that_one():
    assert mixed(COLUMNS, COLUMNS, COLUMNS) is COLUMNS
