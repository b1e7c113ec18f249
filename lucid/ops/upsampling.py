"""Resampling of volumes, one axis after the other.

Along an axis an output is a weighted sum of a few voxels, gathered a tap at a time as
rows. The gradient is again such a map, the transposed one: each voxel gathers from the
outputs that it went into, always in the same order, and nothing is scattered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import functools
import math
from typing import Any, TypeAlias

from lucid._types import LONGEST
from lucid.ops.derivative import with_derivatives
import mlx.core as mx
import numpy as np


@dataclass(frozen=True, eq=False)
class Gather:
    """Output i is the sum over t of weight[t, i] * input[index[t, i]].

    Attributes:
        size: the input's.
        index: (taps, outputs)
        weight: (taps, outputs); None where all are 1.
    """

    size: int
    index: np.ndarray
    weight: np.ndarray | None = None

    def table(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Index and weight of an axis of `size` voxels, both (taps, outputs)."""
        ones = np.ones(self.index.shape, np.float32)
        return self.index, ones if self.weight is None else self.weight

    @property
    def is_sum(self) -> bool:
        return self.weight is not None or len(self.index) > 1

    @property
    def grows(self) -> bool:
        return self.index.shape[1] >= self.size

    @functools.cached_property
    def transposed(self) -> Gather:
        """For each voxel the outputs that it goes into, as many taps as the most."""
        weight = np.ones(self.index.shape) if self.weight is None else self.weight
        tap, output = np.nonzero(weight)
        source = self.index[tap, output]
        order = np.argsort(source, kind="stable")
        source, output, weight = (
            source[order],
            output[order],
            weight[tap, output][order],
        )
        first = np.searchsorted(source, np.arange(self.size + 1))
        rank = np.arange(len(source)) - first[source]
        shape = (max(rank.max(initial=0) + 1, 1), self.size)
        # A voxel with fewer outputs takes its first one again, times 0.
        padded = output[np.minimum(first[:-1], len(output) - 1)]
        index = np.broadcast_to(padded, shape).copy()
        index[rank, source] = output
        weights = np.zeros(shape, np.float32)
        weights[rank, source] = weight
        outputs = self.index.shape[1]
        return Gather(outputs, index, None if (weights == 1).all() else weights)

    def __call__(self, x: mx.array, axis: int) -> mx.array:
        before, after = x.shape[:axis], x.shape[axis + 1 :]
        rows, length = math.prod(before), math.prod(after)
        outputs = self.index.shape[1]
        if length == 1:  # rows of one voxel are slow to gather: of one column each
            columns = x.reshape(rows, self.size).T.flatten()  # a copy
            columns = columns.reshape(self.size, rows)
            y = self._rows(columns, 1, rows).reshape(outputs, rows).T
        else:
            y = self._rows(x.reshape(rows * self.size, length), rows, length)
        return y.reshape(*before, outputs, *after)

    def _rows(self, x: mx.array, groups: int, length: int) -> mx.array:
        """(groups * size, length) -> (groups, outputs, length)."""
        wide = mx.int64 if groups * self.size > LONGEST else mx.int32
        starts = mx.arange(groups, dtype=wide)[:, None] * self.size
        total = None
        for tap, index in enumerate(self.index):
            at = (starts + mx.array(index, wide)).reshape(-1)
            taken = mx.take(x, at, axis=0).reshape(groups, len(index), length)
            if self.weight is not None:
                taken = taken * mx.array(self.weight[tap])[:, None]
            total = taken if total is None else total + taken
        assert total is not None
        return total


@dataclass(frozen=True)
class Repeat:
    """Each voxel `times` times: nearest by an integer, as a broadcast."""

    times: int
    is_sum, grows = False, True

    def table(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        index = (np.arange(size * self.times) // self.times)[None]
        return index, np.ones(index.shape, np.float32)

    @property
    def transposed(self) -> Sum:
        return Sum(self.times)

    def __call__(self, x: mx.array, axis: int) -> mx.array:
        before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        spread = mx.expand_dims(x, axis + 1)
        spread = mx.broadcast_to(spread, (*before, size, self.times, *after))
        return spread.reshape(*before, size * self.times, *after)


@dataclass(frozen=True)
class Sum:
    """Of each `times` voxels, as a sum of slices."""

    times: int
    is_sum, grows = True, False

    def table(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        index = np.arange(size).reshape(-1, self.times).T
        return index, np.ones(index.shape, np.float32)

    @property
    def transposed(self) -> Repeat:
        return Repeat(self.times)

    def __call__(self, x: mx.array, axis: int) -> mx.array:
        lead = (slice(None),) * axis
        parts = [x[(*lead, slice(i, None, self.times))] for i in range(self.times)]
        return functools.reduce(mx.add, parts)


AxisMap: TypeAlias = Gather | Repeat | Sum
"""What happens along an axis: called with an array and the axis."""


def resample(
    x: mx.array, maps: Sequence[tuple[int, AxisMap]], plain: bool = False
) -> mx.array:
    """Apply each axis's map, differentiable to any order.

    Sums of half types are made in float32, and rounded once. `plain` leaves the
    derivatives to MLX, which scatters.
    """
    ordered = _in_order(maps)
    return _apply(x, ordered) if plain else _resample(x, ordered)


Maps: TypeAlias = list[tuple[int, AxisMap]]


def _in_order(maps: Sequence[tuple[int, AxisMap]]) -> Maps:
    """The order of the least work: what shrinks first, then what grows.

    The largest arrays are then those of the outer axes, whose rows are longest.
    """
    maps = [(axis, of_axis) for axis, of_axis in maps if of_axis != Repeat(1)]
    shrinking = [entry for entry in maps if not entry[1].grows]
    growing = [entry for entry in maps if entry[1].grows]
    return [*shrinking, *reversed(growing)]


def _apply(x: mx.array, maps: Maps) -> mx.array:
    is_half = x.dtype in (mx.float16, mx.bfloat16)
    wide = is_half and any(of_axis.is_sum for _, of_axis in maps)
    y = x.astype(mx.float32) if wide else x
    for axis, of_axis in maps:
        y = of_axis(y, axis)
    return y.astype(x.dtype)


def _resample(x: mx.array, maps: Maps) -> mx.array:
    def vjp(_: Any, dy: mx.array) -> mx.array:
        transposed = [(axis, of_axis.transposed) for axis, of_axis in reversed(maps)]
        return _resample(dy, transposed)

    def jvp(_: Any, tangent: mx.array) -> mx.array:
        return _resample(tangent, maps)

    return with_derivatives(lambda x: _apply(x, maps), vjp, jvp)(x)


@functools.lru_cache(maxsize=1024)
def nearest(size: int, outputs: int, scale: float | None, exact: bool) -> AxisMap:
    """The voxel at floor(i * scale), or `exact` at floor((i + 0.5) * scale).

    In float32, as PyTorch: another precision would round to other voxels.

    Args:
        size: of the input.
        outputs: the size of the output.
        scale: outputs a voxel, if it is not to be read off the sizes.
        exact: whether an output is the voxel below its center, not below its corner.
    """
    step = _step(size, outputs, scale)
    i = np.arange(outputs)
    if exact:  # the product in float64, then rounded
        at = ((i + 0.5) * np.float64(step)).astype(np.float32)
    else:
        at = i.astype(np.float32) * step
    index = np.minimum(np.floor(at).astype(np.int64), size - 1)
    times = outputs // size
    if outputs % size == 0 and (index == i // times).all():
        return Repeat(times)
    return Gather(size, index[None])


@functools.lru_cache(maxsize=1024)
def linear(
    size: int, outputs: int, scale: float | None, align_corners: bool
) -> AxisMap:
    """Between the two voxels around i's place, by its distance from each.

    Args:
        size: of the input.
        outputs: the size of the output.
        scale: outputs a voxel, if it is not to be read off the sizes.
        align_corners: whether the centers of the first and last voxels coincide, not
            the borders of the volumes.
    """
    if outputs == size:
        return Repeat(1)
    i = np.arange(outputs, dtype=np.float32)
    if align_corners:
        step = np.float32((size - 1) / (outputs - 1) if outputs > 1 else 0)
        at = i * step
    else:
        step, half = _step(size, outputs, scale), np.float32(0.5)
        at = np.maximum(step * (i + half) - half, np.float32(0))
    below = np.minimum(at.astype(np.int64), size - 1)
    above = np.minimum(below + 1, size - 1)
    part = np.clip(at - below.astype(np.float32), 0, 1).astype(np.float32)
    return Gather(size, np.stack([below, above]), np.stack([1 - part, part]))


@functools.lru_cache(maxsize=1024)
def area(size: int, outputs: int) -> AxisMap:
    """The mean of the voxels that an output covers, those in part as well."""
    i = np.arange(outputs)
    start, stop = i * size // outputs, -((i + 1) * -size // outputs)
    tap = np.arange((stop - start).max())[:, None]
    inside = tap < stop - start
    weight = np.where(inside, 1 / (stop - start), 0).astype(np.float32)
    return Gather(size, start + np.where(inside, tap, 0), weight)


def _step(size: int, outputs: int, scale: float | None) -> np.float32:
    """Voxels of the input from an output to the next, in float32 as PyTorch has it."""
    if scale is None:
        return np.float32(size) / np.float32(outputs)
    return np.float32(1 / scale)
