"""What a convolution is said to cost on a GPU is what its formulas come to."""

from __future__ import annotations

import itertools
import math

from lucid.geometry import ConvGeometry
from lucid.metal import launch
from lucid.metal.choice import choose
from lucid.metal.conv import KERNELS
from lucid.metal.costs import PASSES, REASONS, Cost, costs
from lucid.ops import native
import mlx.core as mx
import pytest

from tests.oracle.direct import triple

DTYPES = (mx.float32, mx.float16, mx.bfloat16)
PATHS = ("kernels", "mx.conv3d", "mx.conv3d, plain", "matmul", "columns")


@pytest.fixture(autouse=True)
def kernels_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUCID_METAL", raising=False)


def geometry_of(
    c, o, groups=1, size=16, kernel=3, stride=1, padding=1, mode="zeros", batch=1
) -> ConvGeometry:
    """`c` and `o` are the channels of a group."""
    sides = ((padding, padding),) * 3
    sizes = (triple(size), triple(kernel), triple(stride), sides, triple(1))
    return ConvGeometry(batch, c * groups, o * groups, *sizes, groups, mode)


TABLE = [
    geometry_of(c, o, groups, size, kernel, stride, kernel // 2, mode, batch)
    for (c, o), groups, size, kernel, stride, mode, batch in itertools.product(
        [(1, 1), (4, 4), (3, 5), (1, 32), (16, 16), (12, 24), (64, 3), (128, 128)],
        *([1, 4], [16, 40], [1, 3, 5], [1, 2], ["zeros", "reflect"], [1, 2]),
    )
]


def arrays(geometry: ConvGeometry, dtype: mx.Dtype) -> tuple[int, int, int]:
    """Bytes of x, y and w."""
    x = geometry.batch * geometry.in_channels * math.prod(geometry.input_size)
    weights = geometry.in_channels // geometry.groups * math.prod(geometry.kernel_size)
    w = geometry.out_channels * weights
    return tuple(dtype.size * n for n in (x, math.prod(geometry.output_shape), w))


def chosen(geometry: ConvGeometry, dtype: mx.Dtype) -> tuple[str, tuple[Cost, ...]]:
    path = choose(geometry, kernels=True).path
    return path, costs(geometry, dtype, path)


def test_the_operations_are_two_for_each_output_and_weight():
    sizes = ((5, 6, 7), (3, 2, 1), (1, 1, 1), ((0, 0),) * 3, (1, 1, 1))
    geometry = ConvGeometry(2, 4, 6, *sizes, 2, "zeros")
    # 2 volumes of 3 * 5 * 7 outputs of 6 channels, of 2 channels * 6 taps each
    by_hand = 2 * (2 * 105 * 6) * (2 * 6)
    for path in ("kernels", "columns"):
        for cost in costs(geometry, mx.float32, path):
            assert cost.flops == by_hand


def test_every_pass_moves_at_least_its_arrays():
    for geometry, dtype in itertools.product(TABLE, DTYPES):
        path, found = chosen(geometry, dtype)
        for name, cost in zip(PASSES, found, strict=True):
            assert cost.moved >= sum(arrays(geometry, dtype)), (path, name, geometry)


def test_every_pass_does_at_least_the_products():
    """Winograd alone does fewer."""
    for geometry, dtype in itertools.product(TABLE, DTYPES):
        least = costs(geometry, dtype, "columns")[0].flops
        path, found = chosen(geometry, dtype)
        for name, cost in zip(PASSES, found, strict=True):
            fewer = "planes of Winograd" in cost.temporaries
            assert cost.flops >= least // (5 if fewer else 1), (path, name, geometry)


def test_kernels_hold_no_more_than_input_and_output_or_a_weight_in_float32():
    for geometry, dtype in itertools.product(TABLE, DTYPES):
        path, found = chosen(geometry, dtype)
        x, y, w = arrays(geometry, dtype)
        for name, cost in zip(PASSES, found, strict=True):
            if path == "kernels":
                limit = max(x + y, 4 * w // dtype.size)
                assert cost.held <= limit, (name, geometry)


def test_a_volume_of_the_kernels_holds_less_than_twice_input_and_output():
    seen = 0
    for geometry, dtype in itertools.product(TABLE, DTYPES):
        path, found = chosen(geometry, dtype)
        if path == "kernels":
            x, y, _ = arrays(geometry, dtype)
            assert all(cost.held < 2 * (x + y) for cost in found), geometry
            seen += 1
    assert seen > 100


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", [1, 3, (1, 2, 5)])
def test_the_kernels_sums_are_what_is_launched(monkeypatch, dtype, kernel):
    shapes = []

    def spy(name, inputs, template, grid, shape, dtype):
        shapes.append(math.prod(shape) * dtype.size)
        return mx.zeros(shape, dtype)

    monkeypatch.setattr(launch, "launch", spy)
    geometry = geometry_of(2, 4, 4, size=12, kernel=kernel, batch=2)
    x = mx.zeros((2, *geometry.input_size, 8), dtype)
    dy = mx.zeros((2, *geometry.output_size, 16), dtype)
    KERNELS.weight_gradient(x, dy, geometry)
    (held,) = costs(geometry, dtype, "kernels")[2].temporaries.values()
    assert [held] == shapes


def test_a_weight_gradient_on_a_grid_holds_what_it_is_said_to():
    """Measured, beside its result."""
    geometry = geometry_of(16, 16, size=24)
    x = dy = mx.ones((1, 24, 24, 24, 16))
    mx.eval(x, dy)
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(native.weight_gradient(x, dy, geometry))
    measured = mx.get_peak_memory() - before
    said = costs(geometry, mx.float32, "mx.conv3d")[2].held
    assert said <= measured < 1.15 * said


def test_a_grid_does_the_products_of_its_border_too():
    geometry = geometry_of(16, 16, size=10)
    forward, _, weight = costs(geometry, mx.float32, "mx.conv3d")
    assert weight.flops == pytest.approx(forward.flops * (12 / 10) ** 3, rel=1e-3)


def test_channels_that_are_no_multiple_of_16_cost_the_products_of_one():
    by_16 = costs(geometry_of(12, 24), mx.float32, "mx.conv3d")
    exact = costs(geometry_of(16, 32), mx.float32, "mx.conv3d")
    assert by_16[0].flops == exact[0].flops
    assert by_16[1].flops == exact[1].flops


def test_winograd_does_a_fifth_of_the_products_and_holds_planes():
    reached = geometry_of(128, 128, size=32)
    away = geometry_of(128, 128, size=32, batch=2)
    forward, backward, _ = costs(reached, mx.float32, "mx.conv3d")
    planes = native.winograd_bytes(reached)
    assert forward.temporaries == {"planes of Winograd": planes}
    assert forward.flops == backward.flops // 5
    for geometry, dtype in ((reached, mx.float16), (away, mx.float32)):
        forward, backward, _ = costs(geometry, dtype, "mx.conv3d")
        assert forward.temporaries == {}
        assert forward.flops == backward.flops


def test_groups_cost_slices_and_joins():
    one = costs(geometry_of(16, 16, 4), mx.float32, "mx.conv3d by group")
    x = arrays(geometry_of(16, 16, 4), mx.float32)[0]
    for cost in one:
        assert cost.temporaries["slices and joins of the groups"] == 2 * x
        assert cost.moved >= 2 * x + 2 * (2 * x)  # x and y; each sliced or joined


@pytest.mark.parametrize("path", [path for path in PATHS if path != "columns"])
def test_half_types_move_and_hold_about_half(path):
    geometry = geometry_of(16, 16, size=40)
    single, half = (costs(geometry, dtype, path) for dtype in DTYPES[:2])
    for wide, narrow in zip(single, half, strict=True):
        assert narrow.flops == wide.flops
        assert 0.5 * wide.moved <= narrow.moved < 0.6 * wide.moved


def test_what_is_held_is_the_sum_of_the_temporaries():
    assert Cost(1, 2, {"a": 3, "b": 4}).held == 7
    assert Cost(1, 2, {}).held == 0


def test_every_temporary_has_a_reason():
    named = {
        what
        for geometry, dtype in itertools.product(TABLE, DTYPES)
        for path in (*PATHS, "mx.conv3d by group")
        for cost in costs(geometry, dtype, path)
        for what in cost.temporaries
    }
    assert named <= set(REASONS)
