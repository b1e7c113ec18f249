"""Rows of a table, with a gradient whose sums have an order: no scatter-add."""

from __future__ import annotations

from typing import Any

from lucid._device import is_plain
from lucid.ops.derivative import with_derivatives
import mlx.core as mx


def embedding(
    indices: mx.array, weight: mx.array, no_gradient: int | None, by_frequency: bool
) -> mx.array:
    """The rows (..., E) of the weight (V, E) at the indices (...).

    Args:
        indices: of rows.
        weight: the rows.
        no_gradient: a row that has none.
        by_frequency: whether a row's gradient is divided by how often it was taken.
    """

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, mx.array]:
        indices, weight = arguments
        rows, width = weight.shape
        flat = indices.reshape(-1).astype(mx.int32)
        flat = mx.where(flat < 0, flat + rows, flat)
        dy = dy.reshape(-1, width).astype(mx.float32)
        if by_frequency:
            ones = mx.ones((flat.size, 1))
            dy = dy / mx.maximum(sums_by_row(ones, flat, rows), 1)[flat]
        dweight = sums_by_row(dy, flat, rows)
        if no_gradient is not None:
            kept = mx.arange(rows)[:, None] != no_gradient
            dweight = mx.where(kept, dweight, 0)
        return mx.zeros_like(indices), dweight.astype(weight.dtype)

    def take(indices: mx.array, weight: mx.array) -> mx.array:
        return weight[indices]

    function = take if is_plain() else with_derivatives(take, vjp)
    return function(indices, weight)


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
