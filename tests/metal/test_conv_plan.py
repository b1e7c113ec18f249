"""What a thread of a convolution kernel loads, holds and reaches of the peak."""

from __future__ import annotations

from lucid.geometry import ConvGeometry
from lucid.metal.conv_plan import (
    THREADS_WANTED,
    forward_plan,
    input_gradient_plan,
    weight_gradient_plan,
    weight_gradient_splits,
)
import numpy as np
import pytest

from tests.test_choice import NONE, geometry_of


@pytest.mark.parametrize(
    ("geometry", "itemsize", "share"),
    [
        # 3 taps, 4 by 4 channels: 10 vectors of inputs and 12 of weights, 8 outputs
        (geometry_of(4, 4, 8), 4, (8 * 3 * 16 / 128) / (22 * 16 / 64)),
        # half types: 6 and 12 for 4 outputs, two more instructions a number
        (geometry_of(4, 4, 8), 2, 192 / (192 + 2 * 72)),
        # depthwise: 6 and 3
        (geometry_of(1, 1, 32), 4, (4 * 3 * 4 / 128) / (9 * 16 / 64)),
        # pairs: 10 and 6 vectors of two, 8 outputs
        (geometry_of(2, 2, 16), 4, (8 * 3 * 4 / 128) / ((10 * 2 + 6 * 2) * 4 / 64)),
    ],
    ids=["4 by 4", "4 by 4, half", "depthwise", "pairs"],
)
def test_a_share_of_the_peak_follows_from_its_loads(geometry, itemsize, share):
    assert forward_plan(geometry, itemsize).share_of_peak(itemsize) == share
    assert input_gradient_plan(geometry, itemsize).share_of_peak(itemsize) == share


def geometries() -> list[ConvGeometry]:
    channels = [(1, 1, 32), (2, 2, 16), (4, 4, 8), (16, 16, 1), (1, 32, 1), (32, 3, 1)]
    return [
        geometry_of(c, o, groups, kernel=kernel, stride=stride, padding=pads, **modes)
        for c, o, groups in channels
        for kernel in range(1, 14)
        for stride in (1, 2, 3, 5)
        for pads, modes in (
            (NONE, {}),
            (((2, 2),) * 3, {"dilation": (1, 1, 2)} if kernel < 8 else {}),
            (((1, 1),) * 3, {"padding_mode": "reflect"}),
        )
    ]


@pytest.mark.parametrize("itemsize", [2, 4])
def test_no_thread_keeps_more_than_registers_hold(itemsize):
    """Sums, and what is read with its offsets, of some 100 numbers at most."""
    for g in geometries():
        plans = [forward_plan(g, itemsize), input_gradient_plan(g, itemsize)]
        for plan in plans:
            each = plan.vec if plan.depthwise else plan.lanes
            read = plan.span * (each + 1) if plan.shared else 0
            assert plan.strip * plan.vec + read <= 100
            assert plan.strip in range(3, 9)
        weight = weight_gradient_plan(g)
        assert weight.taps * weight.lanes * weight.vec <= 4 * 13


def test_long_strips_are_for_float32_and_rows_that_fill_them():
    assert forward_plan(geometry_of(4, 4, 8), 4).strip == 8
    assert forward_plan(geometry_of(4, 4, 8), 2).strip == 4
    assert forward_plan(geometry_of(1, 1, 32), 4).strip == 4
    assert forward_plan(geometry_of(4, 4, 8, size=4), 4).strip == 4
    assert forward_plan(geometry_of(4, 4, 8, kernel=7), 4).strip == 4
    assert forward_plan(geometry_of(4, 4, 8, stride=2), 4).strip == 4


def test_a_weight_gradient_has_enough_splits_and_no_large_parts():
    large = geometry_of(1, 1, 32, size=64)
    splits = weight_gradient_splits(large, 4)
    assert np.prod(splits.threads) >= 0.8 * THREADS_WANTED
    assert splits.count * splits.rows >= 64 * 64
    assert (splits.count - 1) * splits.rows < 64 * 64
    wide = geometry_of(8, 8, 64, size=2)
    splits = weight_gradient_splits(wide, 2)
    parts = 4 * splits.count * 512 * 8 * 27
    assert splits.count == 1 or parts <= 2 * 2 * 512 * 8
