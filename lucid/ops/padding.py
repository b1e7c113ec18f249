"""Padding in every mode, as slices and concatenations (no index gathers).

zeros      1234 -> 00123400
reflect    1234 -> 32123432
replicate  1234 -> 11123444
circular   1234 -> 34123412
"""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx


def pad(
    x: mx.array,
    sides: Sequence[tuple[int, int]],
    mode: str,
    value: mx.array | float = 0.0,
) -> mx.array:
    """Pad the last `len(sides)` axes of `x` by (before, after) voxels each.

    Reflect takes at most size - 1 voxels a side, circular at most size.
    """
    first = x.ndim - len(sides)
    if mode == "zeros":
        if not any(before or after for before, after in sides):
            return x
        return mx.pad(x, [(0, 0)] * first + list(sides), constant_values=value)
    for axis, (before, after) in enumerate(sides, start=first):
        if before or after:
            x = _pad_axis(x, axis, before, after, mode)
    return x


def _pad_axis(x: mx.array, axis: int, before: int, after: int, mode: str) -> mx.array:
    n = x.shape[axis]
    if mode == "circular":
        head, tail = _cut(x, axis, n - before, n), _cut(x, axis, 0, after)
    elif mode == "replicate":
        head = _repeat(_cut(x, axis, 0, 1), axis, before)
        tail = _repeat(_cut(x, axis, n - 1, n), axis, after)
    else:
        head = _reverse(_cut(x, axis, 1, before + 1), axis)
        tail = _reverse(_cut(x, axis, n - after - 1, n - 1), axis)
    parts = [head] * (before > 0) + [x] + [tail] * (after > 0)
    return mx.concatenate(parts, axis=axis)


def _cut(x: mx.array, axis: int, start: int, stop: int) -> mx.array:
    return x[(slice(None),) * axis + (slice(start, stop),)]


def _reverse(x: mx.array, axis: int) -> mx.array:
    return x[(slice(None),) * axis + (slice(None, None, -1),)]


def _repeat(x: mx.array, axis: int, times: int) -> mx.array:
    return mx.broadcast_to(x, (*x.shape[:axis], times, *x.shape[axis + 1 :]))
