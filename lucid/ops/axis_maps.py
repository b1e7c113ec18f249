"""What happens along an axis of a volume that is resampled.

An output is a weighted sum of a few voxels, gathered a tap at a time as rows. The
gradient is again such a map, the transposed one: each voxel gathers from the outputs
that it went into, always in the same order, and nothing is scattered.
"""

from __future__ import annotations

from dataclasses import dataclass
import functools
import math
from typing import TypeAlias

from lucid._types import LONGEST
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


@dataclass(frozen=True, eq=False)
class Double:
    """Linear times two: a voxel's outputs are 3/4 of it and 1/4 of a neighbor.

    Of rows of one voxel as slices: gathered ones are a view that the next axis copies.
    """

    gather: Gather
    is_sum, grows = True, True

    def table(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        return self.gather.table(size)

    @functools.cached_property
    def transposed(self) -> Halve:
        return Halve(self.gather.transposed)

    def __call__(self, x: mx.array, axis: int) -> mx.array:
        before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        if math.prod(after) > 1:
            return self.gather(x, axis)
        x = x.reshape(math.prod(before), size)
        far, near = x * 0.25, x * 0.75
        even = mx.concatenate([x[:, :1], far[:, :-1] + near[:, 1:]], 1)
        odd = mx.concatenate([near[:, :-1] + far[:, 1:], x[:, -1:]], 1)
        return mx.stack([even, odd], 2).reshape(*before, 2 * size, *after)


@dataclass(frozen=True, eq=False)
class Halve:
    """The transpose of `Double`, as slices of the four outputs that a voxel is in."""

    gather: Gather
    is_sum, grows = True, False

    def table(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        return self.gather.table(size)

    @functools.cached_property
    def transposed(self) -> Double:
        return Double(self.gather.transposed)

    def __call__(self, x: mx.array, axis: int) -> mx.array:
        before, size, after = x.shape[:axis], x.shape[axis] // 2, x.shape[axis + 1 :]
        x = x.reshape(math.prod(before), size, 2, math.prod(after))
        even, odd = x[:, :, 0], x[:, :, 1]
        left = mx.concatenate([even[:, :1], odd[:, :-1]], 1)  # the first one counts 1
        right = mx.concatenate([even[:, 1:], odd[:, -1:]], 1)
        y = (even + odd) * 0.75 + (left + right) * 0.25
        return y.reshape(*before, size, *after)


AxisMap: TypeAlias = Gather | Repeat | Sum | Double | Halve
"""What happens along an axis: called with an array and the axis."""
