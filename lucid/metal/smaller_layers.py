"""Small problems for which a norm, pool or resampling launches what a large one does.

They differ from a call's in sizes alone, and only where these are 8 or more: of arrays
of fewer elements MLX generates another source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lucid.metal.guard import draw
from lucid.metal.smaller import fewer
from lucid.ops import pooling
from lucid.ops.axis_maps import Gather
from lucid.ops.pooling import Adaptive
import mlx.core as mx
import numpy as np

# Voxels that make several runs of a threadgroup of two lanes, and a part of one.
_VOXELS = 2500


def smaller_sums(
    a: mx.array | None, x: mx.array, center: mx.array, rows: int
) -> Iterator[tuple[Any, ...]]:
    for n, voxels, c in _smaller_channels(x.shape):
        shape = n, voxels, c
        of_a = None if a is None else draw(shape, x.dtype, 1)
        few = voxels if rows == x.shape[1] else max(1, voxels // 2)
        yield of_a, draw(shape, x.dtype), draw((n, c), mx.float32, 2), few


def smaller_affines(
    a: mx.array | None, a_scale: mx.array | None, x: mx.array, *_: mx.array
) -> Iterator[tuple[Any, ...]]:
    for n, voxels, c in _smaller_channels(x.shape):
        shape = n, voxels, c
        center, x_scale, shift, scale = (draw((n, c), mx.float32, i) for i in range(4))
        of_a = None if a is None else draw(shape, x.dtype, 5)
        a_scale = None if a is None else scale
        yield of_a, a_scale, draw(shape, x.dtype, 4), center, x_scale, shift


def smaller_resamplings(x: mx.array, maps: Any) -> Iterator[tuple[Any, ...]]:
    tables = [of_axis.table(n) for n, of_axis in zip(x.shape[1:4], maps, strict=True)]
    for n, size, c in _smaller_volumes(x.shape):
        yield (
            draw((n, *size, c), x.dtype),
            tuple(
                _gather(s, min(outputs, 8), taps)
                for s, (taps, outputs) in zip(
                    size, (index.shape for index, _ in tables), strict=True
                )
            ),
        )


def smaller_max_pools(x: mx.array, windows: Any) -> Iterator[tuple[Any, ...]]:
    for n, size, c in _smaller_volumes(x.shape):
        yield _of_few_values((n, *size, c), x.dtype), _adaptive(size, windows)


def smaller_max_pool_gradients(
    dy: mx.array, place: mx.array, windows: Any, shape: tuple[int, ...]
) -> Iterator[tuple[Any, ...]]:
    for n, size, c in _smaller_volumes(shape):
        few = n, *size, c
        chosen = _adaptive(size, windows)
        at = pooling.max_indices(_of_few_values(few, dy.dtype), chosen, 4)
        yield draw(at.shape, dy.dtype), at.astype(mx.int32), chosen, few


def _smaller_channels(shape: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    n, voxels, c = shape
    yield min(n, 2), min(voxels, _VOXELS), fewer(c)
    yield min(n, 2), min(voxels, 37), c  # perhaps more than a threadgroup has threads
    yield min(n, 8), min(voxels, _VOXELS), fewer(c)


def _smaller_volumes(
    shape: Sequence[int],
) -> Iterator[tuple[int, tuple[int, int, int], int]]:
    n, d, h, w, c = shape
    size = min(d, 8), min(h, 8), min(w, 8)
    yield min(n, 2), size, fewer(c)
    yield min(n, 2), (min(d, 5), min(h, 6), min(w, 7)), fewer(c)
    yield min(n, 8), size, fewer(c)


def _gather(size: int, outputs: int, taps: int) -> Gather:
    """Every output of as many voxels, with weights of its own."""
    tap, output = np.indices((taps, outputs))
    weight = (0.5 + (3 * tap + output) % 7 / 7).astype(np.float32)
    return Gather(size, (tap + output * size // outputs) % size, weight)


def _adaptive(size: Sequence[int], windows: Any) -> tuple[Adaptive, ...]:
    outputs = [min(along.outputs, 8) for along in windows]
    return tuple(map(Adaptive, size, outputs))


def _of_few_values(shape: Sequence[int], dtype: mx.Dtype) -> mx.array:
    """Many voxels of a window are equally large."""
    return mx.round(draw(shape, dtype) * 3)
