"""Where mx.conv3d is given planes: one volume of many channels, its depth padded."""

from __future__ import annotations

import dataclasses

from lucid.geometry import ConvGeometry
from lucid.ops.conv_mlx import MLX
from lucid.ops.conv_plain import COLUMNS
import mlx.core as mx
import numpy as np
import pytest

from tests.ops.test_conv_mlx import Call, calls, check, first, geometry_of, last
from tests.oracle import SPATIAL
from tests.oracle.tolerances import assert_close

__all__ = ["calls"]  # a fixture


PLANES = geometry_of(3, 1, 1, 1, 16, channels=(128, 128, 1), batch=1)


def depth_padded_beforehand(
    calls: list[Call], geometry: ConvGeometry, dtype: mx.Dtype = mx.float32
) -> bool:
    """Whether MLX gets the depth padded; nothing is evaluated."""
    g = geometry
    x = mx.zeros((g.batch, *g.input_size, g.in_channels), dtype)
    MLX.forward(x, mx.zeros(g.weight_shape, dtype), None, g)
    call = calls.pop()
    sides, padding = g.padding[0], call.options["padding"][0]
    assert call.x.shape[1] + 2 * padding == g.padded_size[0]
    return any(sides) and padding == 0


def with_changes(**changes) -> ConvGeometry:
    return dataclasses.replace(PLANES, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"padding": ((0, 1), (1, 1), (1, 1)), "input_size": (17, 16, 16)},
        {"padding": ((1, 0), (0, 0), (0, 2)), "input_size": (17, 16, 16)},
        {"kernel_size": (2, 3, 3)},
        {"kernel_size": (7, 3, 3), "padding": ((3, 3), (1, 1), (1, 1))},
        {"in_channels": 32, "out_channels": 224},
        {"input_size": (1, 64, 64)},
        {"input_size": (14, 18, 18), "padding": ((1, 1), (0, 0), (0, 0))},
    ],
    ids=str,
)
def test_many_channels_of_one_volume_are_convolved_by_planes(calls, changes):
    """Which MLX takes by its own Winograd, where the depth has no padding."""
    assert depth_padded_beforehand(calls, with_changes(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 2},
        {"kernel_size": (1, 3, 3)},
        {"kernel_size": (8, 3, 3), "padding": ((4, 4), (1, 1), (1, 1))},
        {"kernel_size": (3, 1, 3)},
        {"kernel_size": (3, 3, 5)},
        {"stride": (1, 1, 2), "input_size": (32, 32, 32)},
        {"stride": (2, 1, 1), "input_size": (32, 32, 32)},
        {"dilation": (2, 1, 1), "input_size": (32, 32, 32)},
        {"dilation": (1, 2, 1), "input_size": (32, 32, 32)},
        {"in_channels": 144},
        {"out_channels": 144},
        {"in_channels": 96},
        {"in_channels": 32, "out_channels": 192},
        {"input_size": (15, 16, 16)},
    ],
    ids=str,
)
def test_each_condition_alone_keeps_from_planes(calls, changes):
    assert not depth_padded_beforehand(calls, with_changes(**changes))


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_types_are_not_convolved_by_planes(calls, dtype):
    assert not depth_padded_beforehand(calls, PLANES, dtype)


def test_volumes_whose_planes_would_not_fit_are_convolved_whole(calls):
    large = with_changes(input_size=(160, 160, 160))
    assert not depth_padded_beforehand(calls, large)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_mlx_never_sums_planes_of_one_volume_in_half_precision(calls, dtype):
    """As its Metal backend would without depth padding: it gets one, cut off again."""
    for spatial in SPATIAL:
        geometry = geometry_of(*spatial, batch=1)
        calls.clear()
        check(MLX, geometry, dtype, bias=False)
        for call in calls:
            ((kd, _, _), (depth, _, _)) = (
                call.weight.shape[1:4],
                call.options["padding"],
            )
            strides = (call.options["stride"][0], call.options["dilation"][0])
            assert kd == 1 or depth > 0 or strides != (1, 1)


def test_planes_padded_beforehand_give_the_same_numbers():
    geometry = geometry_of(
        (2, 3, 3), 1, 1, 1, (15, 18, 18), channels=(32, 224, 1), batch=1
    )
    x, w = (
        mx.random.uniform(shape=s) for s in (geometry.input_shape, (224, 32, 2, 3, 3))
    )
    want = COLUMNS.forward(x, w, None, geometry)
    got = first(MLX.forward(last(x), w, None, geometry))
    assert_close(got, np.array(want), "output")
