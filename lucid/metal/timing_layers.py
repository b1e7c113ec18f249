"""Timing the kernels of norms, pools and resampling beside MLX's operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import functools
from typing import Any, NamedTuple

from lucid._types import dtype_name
from lucid.metal import norm, pooling, upsampling
from lucid.metal.compiling import most_threads
from lucid.metal.guard import Guarded, draw
from lucid.metal.peak import Peak
from lucid.metal.timing import cells
from lucid.ops.pooling import sliding
from lucid.ops.upsampling import linear
import mlx.core as mx

SIZE = (64, 64, 64)


class Timed(NamedTuple):
    """A kernel and how its arguments are drawn, in a dtype, for volumes of a size.

    `groups` says whether the threads of a group work together, so that it cannot be
    launched in larger ones.
    """

    kernel: Guarded
    arguments: Callable[[mx.Dtype, Sequence[int]], tuple[Any, ...]]
    groups: bool = False


def _sums(dtype: mx.Dtype, size: Sequence[int]) -> tuple[Any, ...]:
    x = _volumes(dtype, size).flatten(1, 3)
    return None, x, mx.zeros((1, x.shape[2])), x.shape[1]


def _affine(dtype: mx.Dtype, size: Sequence[int]) -> tuple[Any, ...]:
    x = _volumes(dtype, size).flatten(1, 3)
    few = mx.ones((1, x.shape[2]))
    return None, None, x, few, few, few


def _pool(dtype: mx.Dtype, size: Sequence[int]) -> tuple[Any, ...]:
    return _volumes(dtype, size), tuple(sliding(n, 2, 2, 0, 1, False) for n in size)


def _double(dtype: mx.Dtype, size: Sequence[int]) -> tuple[Any, ...]:
    half = [n // 2 for n in size]
    maps = tuple(linear(n, 2 * n, 2.0, align_corners=False) for n in half)
    return _volumes(dtype, half), maps


def _volumes(dtype: mx.Dtype, size: Sequence[int]) -> mx.array:
    return draw((1, *size, 32), dtype)


TIMED_LAYERS = {
    "norm, sums": Timed(norm.sums_kernel, _sums, groups=True),
    "norm, scale and shift": Timed(norm.affine_kernel, _affine),
    "max pool, 2x2x2": Timed(pooling.max_pool_kernel, _pool),
    "trilinear x2": Timed(upsampling.resample_kernel, _double),
}


def layer_time_rows(
    layers: dict[str, Timed],
    peak: Peak,
    repeats: int,
    launches: int,
    size: Sequence[int] = SIZE,
) -> Iterator[str]:
    """As `time_rows`, for (1, 32, *size)."""
    for name, timed in layers.items():
        for dtype in (mx.float32, mx.float16):
            try:
                numbers = _cells(timed, dtype, size, peak, (repeats, launches))
            except Exception as error:  # noqa: BLE001  what Metal's compiler says
                numbers = f"FAILED: {type(error).__name__}: {error}"
            yield f"{name:36} {dtype_name(dtype):8} {numbers}"


def _cells(
    timed: Timed,
    dtype: mx.Dtype,
    size: Sequence[int],
    peak: Peak,
    times: tuple[int, int],
) -> str:
    arguments = timed.arguments(dtype, size)
    arrays = [x for x in arguments if isinstance(x, mx.array)]

    def run(function: Callable[..., mx.array], *arrays: mx.array) -> list[mx.array]:
        given = iter(arrays)
        return [
            function(
                *(next(given) if isinstance(x, mx.array) else x for x in arguments)
            )
        ]

    kernel, twin = timed.kernel.kernel, timed.kernel.twin
    runs = [functools.partial(run, function) for function in (kernel, twin)]
    threads = "" if timed.groups else str(most_threads(lambda: runs[0](*arrays)))
    return cells(runs, arrays, peak, 0, threads, times)
