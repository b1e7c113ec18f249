"""The bytes that a GPU's weight gradients move, as counted in the graph."""

from __future__ import annotations

from collections.abc import Callable
import math

from lucid.metal import conv, estimates
from lucid.ops.conv_mlx import MLX, MLX_BY_GROUP
import mlx.core as mx
import pytest

from tests.test_choice import NONE, geometry_of


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
