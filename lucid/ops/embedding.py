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

    count = weight.shape[0]
    inside = mx.logical_and(indices >= 0, indices < count)
    if no_gradient is not None:
        is_fixed = mx.arange(count)[:, None] == no_gradient
        weight = mx.where(is_fixed, mx.stop_gradient(weight), weight)
    found = _take(mx.where(inside, indices, 0).astype(mx.int32), inside, weight)
    if by_frequency:
        flat = mx.where(inside, indices, count).reshape(-1)
        times = sums_by_row(mx.ones((flat.size, 1)), flat, count + 1)[flat]
        share = (1 / times).reshape(*indices.shape, 1).astype(found.dtype)
        fixed = mx.stop_gradient(found)
        found = fixed + share * (found - fixed)
    return mx.where(inside[..., None], found, math.nan)


def _take(rows: mx.array, inside: mx.array, weight: mx.array) -> mx.array:
    """The rows of the weight; the gradient is that of those inside."""

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, ...]:
        rows, inside, weight = arguments
        count, width = weight.shape
        flat = mx.where(inside, rows, count).reshape(-1)  # others: after the last
        sums = sums_by_row(dy.reshape(-1, width).astype(mx.float32), flat, count)
        zeros = mx.zeros_like(rows), mx.zeros_like(inside)
        return *zeros, sums.astype(weight.dtype)

    def take(rows: mx.array, inside: mx.array, weight: mx.array) -> mx.array:
        return weight[rows]

    return (take if is_plain() else with_derivatives(take, vjp))(rows, inside, weight)


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
