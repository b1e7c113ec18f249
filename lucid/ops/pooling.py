"""Pools of volumes, one axis after another: the slices of a window, folded in order.

Nothing is gathered or scattered: a slice holds one tap of every window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import functools
import math
from typing import Protocol, TypeAlias

from lucid._device import is_plain
from lucid.layout import spatial_axes
from lucid.ops.derivative import with_derivatives
from lucid.ops.taps import cut, strided_taps
import mlx.core as mx
import numpy as np

# The first, second .. tap of every window: stacked along the axis after the pooled one,
# where they lie in memory side by side, or a slice each.
Taps: TypeAlias = "mx.array | list[mx.array]"

# Beyond so many slices, building the operations is what takes the time.
MOST_SLICES = 4096

# From so many stacked taps on, one reduction is faster than as many slices.
MANY = 8


class Windows(Protocol):
    """The windows of one axis."""

    @property
    def length(self) -> int:
        """How many voxels the axis has."""
        ...

    @property
    def outputs(self) -> int:
        """How many there are."""
        ...

    @property
    def dilation(self) -> int:
        """How far apart a window's voxels are."""
        ...

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each begins, before 0 in the padding, and ends in the axis."""
        ...

    def taps(self, x: mx.array, axis: int, fill: float) -> list[Taps]:
        """The taps of each pattern of windows.

        The outputs of the patterns take turns along the axis.
        """
        ...

    def counts(self, include_pad: bool) -> np.ndarray:
        """How many voxels each window has, those of the padding included or not.

        One number stands for all where they are equal.
        """
        ...

    def slices(self, with_places: bool) -> int:
        """How many operations the pool takes, that of their indices too or not."""
        ...


@dataclass(frozen=True)
class Sliding:
    """Windows of `size` taps, `dilation` apart, that begin `stride` apart."""

    length: int
    size: int
    stride: int
    padding: int
    dilation: int
    outputs: int

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(self.outputs) * self.stride - self.padding
        span = self.dilation * (self.size - 1) + 1
        return starts, np.minimum(starts + span, self.length)

    def taps(self, x: mx.array, axis: int, fill: float) -> list[Taps]:
        if self._tiles():
            return [mx.unflatten(x, axis, (-1, self.size))]
        starts = [tap * self.dilation - self.padding for tap in range(self.size)]
        return [strided_taps(x, axis, starts, self.stride, self.outputs, fill)]

    def counts(self, include_pad: bool) -> np.ndarray:
        sides = self.padding if include_pad else 0
        starts = np.array([0, self.outputs - 1]) * self.stride - self.padding
        if starts[0] < -sides or starts[1] + self.size > self.length + sides:
            starts = np.arange(self.outputs) * self.stride - self.padding
        stops = np.minimum(starts + self.size, self.length + sides)
        return stops - np.maximum(starts, -sides)

    def slices(self, with_places: bool) -> int:
        return 1 if self._tiles() and not with_places else self.size

    def _tiles(self) -> bool:
        is_dense = self.size == self.stride and self.padding == 0 and self.dilation == 1
        return is_dense and self.outputs * self.size == self.length


@dataclass(frozen=True)
class Adaptive:
    """As many windows as asked for: output i is of floor(i n / o) to ceil((i+1) n / o).

    They repeat along the axis: n / g voxels give o / g outputs, g the greatest common
    divisor.
    """

    length: int
    outputs: int
    dilation = 1

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        i = np.arange(self.outputs)
        return i * self.length // self.outputs, -(
            -(i + 1) * self.length // self.outputs
        )

    def taps(self, x: mx.array, axis: int, fill: float) -> list[Taps]:
        block, starts, stops = self._block()
        repeats = self.length // block
        x = mx.unflatten(x, axis, (repeats, block))
        pairs = zip(starts, stops, strict=True)
        return [cut(x, axis + 1, start, stop) for start, stop in pairs]

    def counts(self, include_pad: bool) -> np.ndarray:
        block, starts, stops = self._block()
        return np.tile(np.subtract(stops, starts), self.length // block)

    def slices(self, with_places: bool) -> int:
        patterns = self.outputs // math.gcd(self.length, self.outputs)
        return patterns * (self.length // self.outputs + 2 if with_places else 1)

    def _block(self) -> tuple[int, list[int], list[int]]:
        """Its voxels, and where its windows start and stop."""
        g = math.gcd(self.length, self.outputs)
        voxels, outputs = self.length // g, self.outputs // g
        starts = [i * voxels // outputs for i in range(outputs)]
        stops = [-(-(i + 1) * voxels // outputs) for i in range(outputs)]
        return voxels, starts, stops


def sliding(
    length: int, size: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> Sliding:
    """PyTorch's windows: `ceil_mode` has one that sticks out, if it begins inside."""
    room = length + 2 * padding - dilation * (size - 1) - 1
    outputs = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (outputs - 1) * stride >= length + padding:
        outputs -= 1
    return Sliding(length, size, stride, padding, dilation, outputs)


def max_pool(x: mx.array, windows: Sequence[Windows], channel_axis: int) -> mx.array:
    """The largest of each window; of equal ones, the first has the gradient."""
    # The last axis first: so the first of equal voxels is the one first in memory.
    for axis, along in reversed(list(_by_axis(windows, channel_axis))):
        taps = along.taps(x, axis, -math.inf)
        x = _taking_turns([_largest(t, axis) for t in taps], axis)
    return x


def _largest(taps: Taps, axis: int) -> mx.array:
    if isinstance(taps, mx.array) and taps.shape[axis + 1] >= MANY and not is_plain():
        return _largest_of_many(taps, axis + 1)
    return _first_maximum(_slices(taps, axis))


def _first_maximum(taps: Sequence[mx.array]) -> mx.array:
    """Of equal ones, the first has the gradient."""

    def forward(*taps: mx.array) -> mx.array:
        # MLX gives it to the second argument.
        return functools.reduce(lambda a, b: mx.maximum(b, a), taps)

    def vjp(taps: Sequence[mx.array], dy: mx.array, y: mx.array) -> list[mx.array]:
        # As bytes, by which MLX compares and multiplies faster than by bools.
        equal = [mx.stop_gradient(tap == y).view(mx.uint8) for tap in taps[:-1]]
        taken, parts = equal[0], [dy * equal[0]]
        for of_tap in equal[1:]:
            parts.append(dy * (of_tap > taken).view(mx.uint8))
            taken = mx.maximum(taken, of_tap)
        return [*parts, dy * (taken == 0).view(mx.uint8)]

    if is_plain() or len(taps) == 1:
        return forward(*taps)
    return with_derivatives(forward, vjp, of_output=True)(*taps)


def _largest_of_many(x: mx.array, axis: int) -> mx.array:
    """`x.max(axis)`, whose gradient MLX would share out among equal ones."""

    def vjp(x: mx.array, dy: mx.array) -> mx.array:
        places = mx.arange(x.shape[axis]).reshape([-1] + [1] * (x.ndim - 1 - axis))
        first = mx.argmax(x, axis, keepdims=True)
        return mx.where(places == first, mx.expand_dims(dy, axis), 0)

    return with_derivatives(lambda x: x.max(axis), vjp)(x)


def mean_pool(
    x: mx.array,
    windows: Sequence[Windows],
    channel_axis: int,
    include_pad: bool = True,
    divisor: int | None = None,
) -> mx.array:
    """The sum of each window, over its voxels or over `divisor`."""
    total = x
    for axis, along in _by_axis(windows, channel_axis):
        taps = along.taps(total, axis, 0)
        total = _taking_turns([_sum(t, axis) for t in taps], axis)
    if divisor is not None:
        return total * (1 / divisor)
    for axis, along in _by_axis(windows, channel_axis):
        counts = along.counts(include_pad)
        if counts.min() == counts.max():
            total = total * float(1 / counts[0])
        else:
            shape = [1] * x.ndim
            shape[axis] = len(counts)
            total = total * mx.array((1 / counts).astype(np.float32)).reshape(shape)
    return total


def _sum(taps: Taps, axis: int) -> mx.array:
    if isinstance(taps, mx.array) and taps.shape[axis + 1] >= MANY:
        return taps.sum(axis + 1)
    return functools.reduce(mx.add, _slices(taps, axis))


def max_indices(x: mx.array, windows: Sequence[Windows], channel_axis: int) -> mx.array:
    """Where in its volume, counted flat, each window's largest voxel is: int64."""
    axes = spatial_axes(channel_axis)
    x = mx.stop_gradient(x)
    places = mx.arange(math.prod(x.shape[axis] for axis in axes), dtype=mx.int32)
    places = places.reshape([n if i in axes else 1 for i, n in enumerate(x.shape)])
    places = mx.broadcast_to(places, x.shape)
    for axis, along in reversed(list(_by_axis(windows, channel_axis))):
        values, of_values = along.taps(x, axis, -math.inf), along.taps(places, axis, -1)
        found = [
            functools.reduce(
                _larger, zip(_slices(v, axis), _slices(p, axis), strict=True)
            )
            for v, p in zip(values, of_values, strict=True)
        ]
        x, places = (_taking_turns(part, axis) for part in zip(*found, strict=True))
    return places.astype(mx.int64)


def _larger(
    earlier: tuple[mx.array, mx.array], later: tuple[mx.array, mx.array]
) -> tuple[mx.array, mx.array]:
    """Of (values, places) the larger values; a NaN is larger, a place -1 is none."""
    (a, i), (b, j) = earlier, later
    # Not with `|`: mx.vmap has it read beyond an array that is not mapped.
    take = mx.logical_or(mx.logical_or(b > a, mx.isnan(b)), i < 0)
    return mx.where(take, b, a), mx.where(take, j, i)


def _by_axis(
    windows: Sequence[Windows], channel_axis: int
) -> Iterator[tuple[int, Windows]]:
    return zip(spatial_axes(channel_axis), windows, strict=True)


def _taking_turns(patterns: Sequence[mx.array], axis: int) -> mx.array:
    """[a0 a1 ..], [b0 b1 ..] -> [a0 b0 a1 b1 ..]."""
    if len(patterns) == 1:
        return patterns[0]
    return mx.flatten(mx.stack(list(patterns), axis + 1), axis, axis + 1)


def _slices(taps: Taps, axis: int) -> list[mx.array]:
    """Each tap of all windows, in order."""
    if not isinstance(taps, mx.array):
        return taps
    parts = mx.split(taps, taps.shape[axis + 1], axis + 1)
    return [mx.squeeze(part, axis + 1) for part in parts]
