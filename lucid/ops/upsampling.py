"""Resampling of volumes, one axis after the other."""

from __future__ import annotations

from collections.abc import Sequence
import functools
from typing import Any, TypeAlias

from lucid.ops.axis_maps import AxisMap, Double, Gather, Repeat
from lucid.ops.derivative import with_derivatives
import mlx.core as mx
import numpy as np


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
    gather = Gather(size, np.stack([below, above]), np.stack([1 - part, part]))
    is_double = outputs == 2 * size and not align_corners and step == 0.5
    return Double(gather) if is_double else gather


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
