"""Comparing the kernels of norms, pools and resampling with their twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import functools
from typing import Any, NamedTuple

from lucid import _device
from lucid.metal import pooling
from lucid.metal.check import Compared, Comparison, Row, row
from lucid.metal.guard import Guarded, draw
from lucid.metal.norm import affine_kernel, sums_kernel
from lucid.metal.pooling import Pools
from lucid.metal.upsampling import Three, resample_kernel
from lucid.ops.pooling import Adaptive, sliding
from lucid.ops.upsampling import area, linear, nearest
import mlx.core as mx


class LayerCase(NamedTuple):
    """A kernel, and its arguments in a dtype."""

    what: str
    kernel: Guarded
    arguments: Callable[[mx.Dtype], tuple[Any, ...]]


def _sums(shape: tuple[int, int, int], of_two: bool, dtype: mx.Dtype) -> tuple:
    n, voxels, c = shape
    a = _draw(shape, dtype, 1) if of_two else None
    return a, _draw(shape, dtype, 0), -_draw((n, c), mx.float32, 2), voxels


def _affine(shape: tuple[int, int, int], of_two: bool, dtype: mx.Dtype) -> tuple:
    few = shape[0], shape[2]
    a = (_draw(shape, dtype, 1), _draw(few, mx.float32, 2)) if of_two else (None, None)
    center, *rest = (_draw(few, mx.float32, seed) for seed in (3, 4, 5))
    return *a, _draw(shape, dtype, 0), -center, *rest


def _max_pool(channels: int, windows: Pools, dtype: mx.Dtype) -> tuple:
    return _ties(channels, dtype), windows


def _max_pool_gradient(channels: int, windows: Pools, dtype: mx.Dtype) -> tuple:
    x = _ties(channels, dtype)
    place = pooling.places_ops(x, windows)
    return _draw(place.shape, dtype, 1), place, windows, x.shape


def _resample(channels: int, maps: Three, dtype: mx.Dtype) -> tuple:
    return _draw((2, *SIZE, channels), dtype, 0), maps


def _adjoint(channels: int, maps: Three, dtype: mx.Dtype) -> tuple:
    depth, height, width = maps
    y = resample_kernel.twin(*_resample(channels, maps, dtype))
    return y, (depth.transposed, height.transposed, width.transposed)


def _draw(shape: tuple[int, ...], dtype: mx.Dtype, seed: int) -> mx.array:
    """In [0.5, 1.5]: no sum of products cancels."""
    return draw(shape, dtype, seed, 0.5, 1.5)


def _ties(channels: int, dtype: mx.Dtype) -> mx.array:
    """Many voxels of a window are equally large."""
    return mx.round(draw((2, *SIZE, channels), dtype) * 3)


# Each with four channels a thread and with one; threads that end anywhere; several
# splits; more channels than a threadgroup has threads; fewer than eight elements.
SHAPES = ((2, 37, 8), (1, 700, 3), (2, 2500, 4), (1, 9, 1028), (1, 3, 1))
SIZE = (4, 5, 7)
POOLS: dict[str, Pools] = {
    name: (windows[0], windows[1], windows[2])
    for name, windows in {
        "windows of 2": [sliding(n, 2, 2, 0, 1, False) for n in SIZE],
        "3, stride 2, padded": [sliding(n, 3, 2, 1, 1, False) for n in SIZE],
        "2, dilated": [sliding(n, 2, 1, 1, 2, True) for n in SIZE],
        "adaptive": [Adaptive(n, 3) for n in SIZE],
    }.items()
}
MAPS: dict[str, Three] = {
    name: (maps[0], maps[1], maps[2])
    for name, maps in {
        "trilinear x2": [linear(n, 2 * n, 2.0, False) for n in SIZE],
        "nearest x2": [nearest(n, 2 * n, 2.0, False) for n in SIZE],
        "area": [area(n, n // 2) for n in SIZE],
    }.items()
}


def _cases() -> Iterator[tuple[str, str, Guarded, Callable[..., tuple], tuple]]:
    """What, case, kernel, and how its arguments are made of what."""
    for shape in SHAPES:
        for of_two in (False, True):
            case = f"{shape}{', two' if of_two else ''}"
            yield "sums", case, sums_kernel, _sums, (shape, of_two)
            yield "affine", case, affine_kernel, _affine, (shape, of_two)
    for channels in (8, 3):
        for name, windows in POOLS.items():
            of = channels, windows
            case = f"{name}, {channels} channels"
            gradient = pooling.max_pool_gradient_kernel
            yield "max pool", case, pooling.max_pool_kernel, _max_pool, of
            yield "places", case, pooling.places_kernel, _max_pool, of
            yield "max pool gradient", case, gradient, _max_pool_gradient, of
        for name, maps in MAPS.items():
            case = f"{name}, {channels} channels"
            yield "resample", case, resample_kernel, _resample, (channels, maps)
            yield "resample adjoint", case, resample_kernel, _adjoint, (channels, maps)


LAYER_CASES = {
    f"{what}: {case}": LayerCase(what, kernel, functools.partial(arguments, *of))
    for what, case, kernel, arguments, of in _cases()
}


def layer_comparisons(cases: dict[str, LayerCase]) -> Iterator[Comparison]:
    """Every kernel against its twin."""
    for name, case in cases.items():
        compute = functools.partial(_compare, case)
        yield Comparison(case.what, name.partition(": ")[2], compute)


def layer_rows(cases: dict[str, LayerCase]) -> Iterator[Row]:
    """Every kernel against its twin."""
    return map(row, layer_comparisons(cases))


def _compare(case: LayerCase, dtype: mx.Dtype) -> Compared:
    arguments = case.arguments(dtype)
    with _device.running_on("cpu"):  # see check.PATH_TOLERANCES
        want = case.kernel.twin(*arguments)
    return [(case.kernel.kernel(*arguments), want)]
