"""Sampling of volumes at any points: a weighted sum of the voxels around each.

With T(w, x, dy) = sum over points and corners of w * x[corner] * dy, linear in each,
sampling is dT/d(dy), and the gradients of x and of w are T's other two derivatives: the
three are each other's, to any order. The gradient of x scatters nothing: points are
sorted by the cell that they lie in, and a cell's are summed as one matrix product, in
the same order each time.

Volumes are channels-last and float32, points of all volumes are in one list.
"""

from __future__ import annotations

from collections.abc import Sequence
import functools
import itertools
import math
from typing import Any, NamedTuple

from lucid.ops.derivative import with_derivatives
import mlx.core as mx

# Zeros around a volume: a point just before the first voxel has a corner outside, one
# that is beyond has all of them.
BEFORE, AFTER = 1, 2


class Corners(NamedTuple):
    """The voxels that a point is a mean of, and the volumes' shape.

    Attributes:
        along: corners along each axis: 2, or 1 where only the nearest voxel counts.
        shape: (N, D, H, W, C)
    """

    along: int
    shape: tuple[int, ...]

    @property
    def padded(self) -> tuple[int, ...]:
        n, *size, c = self.shape
        return (n, *(s + BEFORE + AFTER for s in size), c)

    @property
    def cells(self) -> int:
        return math.prod(self.padded[:-1])

    @property
    def offsets(self) -> list[tuple[int, int, int]]:
        d, h, w = itertools.repeat(range(self.along), 3)
        return list(itertools.product(d, h, w))

    def rows(self, x: mx.array) -> mx.array:
        """(cells, C), with zeros around."""
        ends = [(0, 0), *[(BEFORE, AFTER)] * 3, (0, 0)]
        return mx.pad(x, ends).reshape(self.cells, self.shape[-1])

    def step(self, offset: Sequence[int]) -> int:
        """Cells from a point's first corner to another."""
        _, _, height, width, _ = self.padded
        d, h, w = offset
        return (d * height + h) * width + w


def cells_of(places: mx.array, corners: Corners) -> mx.array:
    """Which cell each point's first corner is: a row of `Corners.rows`.

    Args:
        places: (N, points, 3), the first corner's (d, h, w), from -1 to the size.
        corners: of the volumes.
    """
    n, depth, height, width, _ = corners.padded
    d, h, w = (places[..., axis].astype(mx.int32) + BEFORE for axis in range(3))
    volume = mx.arange(n)[:, None]
    return (((volume * depth + d) * height + h) * width + w).flatten()


def sample(
    weight: mx.array,
    x: mx.array,
    cell: mx.array,
    corners: Corners,
    plain: bool = False,
) -> mx.array:
    """The sum over its corners of their weights times x at them: (points, C).

    Args:
        weight: (corners, points), differentiable to any order.
        x: (N, D, H, W, C), likewise.
        cell: (points,), of each point's first corner.
        corners: of the volumes.
        plain: whether to leave the derivatives to MLX, which scatters.
        plain: whether to leave the derivatives to MLX, which scatters.
    """

    def vjp(arrays: Any, dy: mx.array) -> tuple[mx.array, ...]:
        weight, x, cell = arrays
        return (
            _weight_gradient(x, dy, cell, corners),
            _input_gradient(weight, dy, cell, corners),
            mx.zeros_like(cell),
        )

    def forward(weight: mx.array, x: mx.array, cell: mx.array) -> mx.array:
        rows, total = corners.rows(x), None
        for tap, offset in enumerate(corners.offsets):
            taken = mx.take(rows, cell + corners.step(offset), axis=0)
            taken = taken * weight[tap][:, None]
            total = taken if total is None else total + taken
        assert total is not None
        return total

    def jvp(arrays: Any, tangents: Any) -> mx.array:
        weight, x, cell = arrays
        parts = []
        if tangents[0] is not None:
            parts.append(sample(tangents[0], x, cell, corners))
        if tangents[1] is not None:
            parts.append(sample(weight, tangents[1], cell, corners))
        return functools.reduce(mx.add, parts)

    function = forward if plain else with_derivatives(forward, vjp, jvp)
    return function(weight, x, cell)


def _weight_gradient(
    x: mx.array, dy: mx.array, cell: mx.array, corners: Corners
) -> mx.array:
    """(corners, points)"""

    def vjp(arrays: Any, weight: mx.array) -> tuple[mx.array, ...]:
        x, dy, cell = arrays
        return (
            _input_gradient(weight, dy, cell, corners),
            sample(weight, x, cell, corners),
            mx.zeros_like(cell),
        )

    def gradient(x: mx.array, dy: mx.array, cell: mx.array) -> mx.array:
        rows = corners.rows(x)
        steps = map(corners.step, corners.offsets)
        taken = (mx.take(rows, cell + step, axis=0) for step in steps)
        return mx.stack([(corner * dy).sum(axis=-1) for corner in taken])

    return with_derivatives(gradient, vjp)(x, dy, cell)


def _input_gradient(
    weight: mx.array, dy: mx.array, cell: mx.array, corners: Corners
) -> mx.array:
    """(N, D, H, W, C)"""

    def vjp(arrays: Any, x: mx.array) -> tuple[mx.array, ...]:
        weight, dy, cell = arrays
        return (
            _weight_gradient(x, dy, cell, corners),
            sample(weight, x, cell, corners),
            mx.zeros_like(cell),
        )

    def gradient(weight: mx.array, dy: mx.array, cell: mx.array) -> mx.array:
        if not dy.size:
            return mx.zeros(corners.shape)
        order = mx.argsort(cell)
        sums = mx.segmented_mm(
            weight[:, order], dy[order], _segments(cell[order], corners.cells)
        )
        return _gathered(sums, corners)

    return with_derivatives(gradient, vjp)(weight, dy, cell)


def _segments(cell: mx.array, cells: int) -> mx.array:
    """Where each cell's points start and stop among all, sorted: (cells, 2)."""
    points = mx.arange(len(cell), dtype=mx.uint32)
    changes = cell[1:] != cell[:-1]
    end = mx.array([True])
    # A cell's first point says where it starts, the last one where it stops; what the
    # others say goes to a row more, which is dropped.
    columns = []
    for says, position in (
        (mx.concatenate([end, changes]), points),
        (mx.concatenate([changes, end]), points + 1),
    ):
        column = mx.zeros(cells + 1, mx.uint32)
        column[mx.where(says, cell, cells)] = position
        columns.append(column[:-1])
    return mx.stack(columns, axis=1)


def _gathered(sums: mx.array, corners: Corners) -> mx.array:
    """(cells, corners, C): each voxel's, over the cells that it is a corner of."""
    sums = sums.reshape(*corners.padded[:-1], -1, corners.shape[-1])
    _, *size, _ = corners.shape
    total = None
    for tap, offset in enumerate(corners.offsets):
        window = (
            slice(BEFORE - at, BEFORE - at + length)
            for at, length in zip(offset, size, strict=True)
        )
        part = sums[(slice(None), *window, tap)]
        total = part if total is None else total + part
    assert total is not None
    return total
