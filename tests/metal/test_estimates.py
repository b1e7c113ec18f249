"""Estimates of a GPU's passes: bytes as counted in the graph, shares by hand."""

from __future__ import annotations

from collections.abc import Callable
import math

from lucid.geometry import ConvGeometry
from lucid.metal import conv, estimates
from lucid.metal.conv_plan import (
    forward_plan,
    input_gradient_plan,
    weight_gradient_plan,
)
from lucid.ops.conv_mlx import MLX, MLX_BY_GROUP
import mlx.core as mx
import pytest

from tests.test_choice import NONE, geometry_of

WEIGHT = "weight gradient"


def operations(
    function: Callable[..., mx.array], *arrays: mx.array
) -> list[tuple[str, int, int]]:
    """Name, bytes in and bytes out of everything in the graph of a function."""
    records: list[dict] = []
    mx.export_function(records.append, function, *arrays)
    shapes: dict[str, int] = {}

    def size(entry: tuple) -> int:
        name, shape, dtype = entry
        return shapes.setdefault(name, math.prod(shape) * dtype.size)

    return [
        (r["name"], sum(map(size, r["inputs"])), sum(map(size, r["outputs"])))
        for r in records
        if r["type"] == "primitive"
    ]


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16], ids=str)
@pytest.mark.parametrize(
    "geometry",
    [
        geometry_of(8, 12),
        geometry_of(8, 8, batch=2, padding=NONE),
        geometry_of(4, 8, groups=3),
        geometry_of(8, 4, stride=2),
    ],
    ids=["dense", "not padded", "grouped", "strided"],
)
def test_mlxs_weight_gradient_moves_what_its_graph_says(geometry, dtype):
    formulation = MLX if geometry.groups == 1 else MLX_BY_GROUP
    g = geometry
    x = mx.zeros((g.batch, *g.input_size, g.in_channels), dtype)
    dy = mx.zeros((g.batch, *g.output_size, g.out_channels), dtype)

    def gradient(x: mx.array, dy: mx.array) -> mx.array:
        return formulation.weight_gradient(x, dy, geometry)

    moved = 0
    for name, read, written in operations(gradient, x, dy):
        if name == "Matmul":
            moved += read + 3 * written  # the taps are stacked
        if name == "Pad":
            moved += read + written
    if geometry.stride != (1, 1, 1):  # the voxels of each tap are copied
        moved += 27 * 2 * dtype.size * math.prod(g.output_size) * g.in_channels
    if geometry.groups > 1:  # so are slices
        moved += 2 * (x.nbytes + dy.nbytes)
    estimate = estimates.mlx_weight_gradient_bytes(geometry, dtype.size)
    # The last taps' runs are shorter; a number is padded with.
    assert moved == pytest.approx(estimate, rel=0.06)


def test_lucids_weight_gradient_reads_both_arrays_once_and_has_few_parts(monkeypatch):
    geometry = geometry_of(32, 32, size=64)
    parts = []

    def launch(*_, shape, dtype, **__) -> mx.array:
        parts.append(math.prod(shape) * dtype.size)
        return mx.zeros(shape, dtype)

    monkeypatch.setattr(conv.launch, "launch", launch)
    x = mx.zeros((1, 64, 64, 64, 32))
    conv.weight_gradient_kernel.kernel(x, x, geometry)
    got = estimates.lucid_weight_gradient_bytes(geometry, 4)
    assert got == 2 * x.nbytes + 2 * parts[0]
    assert got < 3 * x.nbytes


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
