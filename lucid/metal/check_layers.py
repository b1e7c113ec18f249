"""Comparing the kernels of norms, pools and resampling with their twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import functools
import itertools
from typing import Any, NamedTuple, TypeAlias

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


Volumes: TypeAlias = "tuple[int, int, int, int, int]"
"""(N, D, H, W, C)."""

Made: TypeAlias = "tuple[str, str, Guarded, Callable[..., tuple], tuple]"
"""What, case, kernel, and how its arguments are made of what."""


def _sums(shape: tuple[int, int, int], of_two: bool, dtype: mx.Dtype) -> tuple:
    n, voxels, c = shape
    a = _draw(shape, dtype, 1) if of_two else None
    return a, _draw(shape, dtype, 0), -_draw((n, c), mx.float32, 2), voxels


def _affine(shape: tuple[int, int, int], of_two: bool, dtype: mx.Dtype) -> tuple:
    few = shape[0], shape[2]
    a = (_draw(shape, dtype, 1), _draw(few, mx.float32, 2)) if of_two else (None, None)
    center, *rest = (_draw(few, mx.float32, seed) for seed in (3, 4, 5))
    return *a, _draw(shape, dtype, 0), -center, *rest


def _max_pool(shape: Volumes, windows: Pools, dtype: mx.Dtype) -> tuple:
    return _ties(shape, dtype), windows


def _max_pool_gradient(shape: Volumes, windows: Pools, dtype: mx.Dtype) -> tuple:
    x = _ties(shape, dtype)
    place = pooling.places_ops(x, windows)
    return _draw(place.shape, dtype, 1), place, windows, x.shape


def _resample(shape: Volumes, maps: Three, dtype: mx.Dtype) -> tuple:
    return _draw(shape, dtype, 0), maps


def _adjoint(shape: Volumes, maps: Three, dtype: mx.Dtype) -> tuple:
    depth, height, width = maps
    y = resample_kernel.twin(*_resample(shape, maps, dtype))
    return y, (depth.transposed, height.transposed, width.transposed)


def _draw(shape: tuple[int, ...], dtype: mx.Dtype, seed: int) -> mx.array:
    """In [0.5, 1.5]: no sum of products cancels."""
    return draw(shape, dtype, seed, 0.5, 1.5)


def _ties(shape: Volumes, dtype: mx.Dtype) -> mx.array:
    """Many voxels of a window are equally large."""
    return mx.round(draw(shape, dtype) * 3)


def _pools(size: Sequence[int]) -> Iterator[tuple[str, Pools]]:
    for name, options in {
        "windows of 2": (2, 2, 0, 1, False),
        "3, stride 2, padded": (3, 2, 1, 1, False),
        "2, dilated": (2, 1, 1, 2, True),
    }.items():
        depth, height, width = (sliding(n, *options) for n in size)
        yield name, (depth, height, width)
    depth, height, width = (Adaptive(n, 3) for n in size)
    yield "adaptive", (depth, height, width)


def _maps(size: Sequence[int]) -> Iterator[tuple[str, Three]]:
    for name, of_axis in {
        "trilinear x2": lambda n: linear(n, 2 * n, 2.0, False),
        "nearest x2": lambda n: nearest(n, 2 * n, 2.0, False),
        "area": lambda n: area(n, n // 2),
    }.items():
        depth, height, width = map(of_axis, size)
        yield name, (depth, height, width)


def _norms(shape: tuple[int, int, int]) -> Iterator[Made]:
    for of_two in (False, True):
        case = f"{shape}{', two' if of_two else ''}"
        yield "sums", case, sums_kernel, _sums, (shape, of_two)
        yield "affine", case, affine_kernel, _affine, (shape, of_two)


def _volumes(shape: Volumes) -> Iterator[Made]:
    gradient = pooling.max_pool_gradient_kernel
    for name, windows in _pools(shape[1:4]):
        of, case = (shape, windows), f"{name}, {shape[4]} channels"
        yield "max pool", case, pooling.max_pool_kernel, _max_pool, of
        yield "places", case, pooling.places_kernel, _max_pool, of
        yield "max pool gradient", case, gradient, _max_pool_gradient, of
    for name, maps in _maps(shape[1:4]):
        case = f"{name}, {shape[4]} channels"
        yield "resample", case, resample_kernel, _resample, (shape, maps)
        yield "resample adjoint", case, resample_kernel, _adjoint, (shape, maps)


def layer_cases(
    rows: Sequence[tuple[int, int, int]], volumes: Sequence[Volumes]
) -> dict[str, LayerCase]:
    """Every kernel, on (N, V, C) or on (N, D, H, W, C)."""
    every = [
        *itertools.chain.from_iterable(map(_norms, rows)),
        *itertools.chain.from_iterable(map(_volumes, volumes)),
    ]
    return {
        f"{what}: {case}": LayerCase(what, kernel, functools.partial(make, *of))
        for what, case, kernel, make, of in every
    }


# Each with four channels a thread and with one; threads that end anywhere; several
# splits; more channels than a threadgroup has threads; fewer than eight elements.
LAYER_CASES = layer_cases(
    rows=[(2, 37, 8), (1, 700, 3), (2, 2500, 4), (1, 9, 1028), (1, 3, 1)],
    volumes=[(2, 4, 5, 7, 8), (2, 4, 5, 7, 3)],
)


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
