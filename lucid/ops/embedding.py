"""Rows of a table, with a gradient whose sums have an order: no scatter-add."""

from __future__ import annotations

import math
from typing import Any

from lucid._device import is_plain
from lucid.ops.derivative import with_derivatives
import mlx.core as mx


def embedding(
    indices: mx.array, weight: mx.array, no_gradient: int | None, by_frequency: bool
) -> mx.array:
    """The rows (..., E) of the weight (V, E) at indices (...), NaN if there is none.

    Args:
        indices: of rows.
        weight: the rows.
        no_gradient: a row that has none.
        by_frequency: whether a row's gradient is divided by how often it was taken.
    """

    count, width = weight.shape
    inside = mx.logical_and(indices >= 0, indices < count)

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, mx.array]:
        rows, weight = arguments
        # What is no row belongs to one after the last.
        flat = mx.where(inside, rows, count).reshape(-1)
        dy = dy.reshape(-1, width).astype(mx.float32)
        if by_frequency:
            times = sums_by_row(mx.ones((flat.size, 1)), flat, count + 1)
            dy = dy / times[flat]
        dweight = sums_by_row(dy, flat, count)
        if no_gradient is not None:
            is_kept = mx.arange(count)[:, None] != no_gradient
            dweight = mx.where(is_kept, dweight, 0)
        return mx.zeros_like(rows), dweight.astype(weight.dtype)

    def take(rows: mx.array, weight: mx.array) -> mx.array:
        return weight[rows]

    function = take if is_plain() else with_derivatives(take, vjp)
    found = function(mx.where(inside, indices, 0).astype(mx.int32), weight)
    return mx.where(inside[..., None], found, math.nan)


def sums_by_row(values: mx.array, rows: mx.array, count: int) -> mx.array:
    """(count, E): of the values (B, E), the sum of those that belong to each row (B,).

    Sorted by row, then each added to the one before it of the same row, two, four ..
    before it: the last of a row holds its sum.
    """
    if not rows.size:
        return mx.zeros((count, values.shape[1]), values.dtype)
    order = mx.argsort(rows)
    rows, values = rows[order], values[order]
    step = 1
    while step < rows.size:
        same = (rows[step:] == rows[:-step])[:, None]
        sums = values[step:] + mx.where(same, values[:-step], 0)
        values = mx.concatenate([values[:step], sums])
        step *= 2
    is_last = mx.concatenate([rows[1:] != rows[:-1], mx.array([True])])
    # Those that are not the last go to a row that is cut off.
    sums = mx.zeros((count + 1, values.shape[1]), values.dtype)
    sums[mx.where(is_last, rows, count)] = values
    return sums[:count]
