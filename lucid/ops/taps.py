"""The taps of an axis's windows, as arrays.

With a gradient of our own: MLX's writes a volume of zeros for each of the slices.
"""

from __future__ import annotations

from collections.abc import Sequence
import functools

from lucid._device import is_plain
from lucid.ops.derivative import with_vjp_of_outputs
import mlx.core as mx


def strided_taps(
    x: mx.array, axis: int, starts: Sequence[int], stride: int, count: int, fill: float
) -> list[mx.array]:
    """For each of `starts`: `count` voxels, `stride` apart, the first one there.

    Those outside of the axis are `fill`.
    """
    length = x.shape[axis]
    if count == 1:
        stride = min(stride, length)

    def forward(x: mx.array) -> tuple[mx.array, ...]:
        return _taps(x, axis, starts, stride, count, fill)

    def vjp(_: mx.array, cotangents: Sequence[mx.array], outputs: object) -> mx.array:
        return _joined(cotangents, axis, starts, stride, length)

    function = forward if is_plain() else with_vjp_of_outputs(forward, vjp)
    return list(function(x))


def _taps(
    x: mx.array, axis: int, starts: Sequence[int], stride: int, count: int, fill: float
) -> tuple[mx.array, ...]:
    """Of every `stride`-th voxel from 0, 1 .. on: what its taps have in common."""
    shared = {}
    for first in {start % stride for start in starts}:
        at = [start // stride for start in starts if start % stride == first]
        every = cut(x, axis, first, None, stride)
        shared[first] = min(at), _between(every, axis, min(at), max(at) + count, fill)
    taps = []
    for start in starts:
        begin, voxels = shared[start % stride]
        at = start // stride - begin
        taps.append(cut(voxels, axis, at, at + count))
    return tuple(taps)


def _joined(
    parts: Sequence[mx.array],
    axis: int,
    starts: Sequence[int],
    stride: int,
    length: int,
) -> mx.array:
    """The transpose of `_taps`: each voxel's sum over the taps that it is in."""
    rows = -(-length // stride)
    firsts = sorted({start % stride for start in starts})
    turns = []
    for first, begin, end in zip(
        firsts, [0, *firsts[1:]], [*firsts[1:], stride], strict=True
    ):
        shifted = [
            _between(part, axis, -(start // stride), rows - start // stride, 0)
            for part, start in zip(parts, starts, strict=True)
            if start % stride == first
        ]
        total = mx.expand_dims(functools.reduce(mx.add, shifted), axis + 1)
        # With zeros for the voxels before the next one that are in no tap.
        turns.append(_between(total, axis + 1, begin - first, end - first, 0))
    joined = mx.flatten(mx.concatenate(turns, axis + 1), axis, axis + 1)
    return cut(joined, axis, 0, length)


def _between(x: mx.array, axis: int, start: int, stop: int, fill: float) -> mx.array:
    """`x[start:stop]`, with `fill` where that is outside of `x`."""
    length = x.shape[axis]
    before = min(stop, 0) - min(start, 0)
    after = max(stop, length) - max(start, length)
    x = cut(x, axis, max(start, 0), max(stop, 0))
    if not before and not after:
        return x
    sides = [(0, 0)] * x.ndim
    sides[axis] = (before, after)
    return mx.pad(x, sides, constant_values=fill)


def cut(
    x: mx.array, axis: int, start: int, stop: int | None, step: int = 1
) -> mx.array:
    """`x[start:stop:step]` along `axis`."""
    return x[(slice(None),) * axis + (slice(start, stop, step),)]
