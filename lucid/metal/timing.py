"""Timing the kernels beside their twins and beside mx.conv3d."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import functools
import statistics
import time

from lucid._types import dtype_name
from lucid.metal.check import CONVOLUTIONS, Case, arrays_of
import mlx.core as mx

TIMED_CASES = {
    "depthwise": Case(
        (1, 32, 64, 64, 64), (32, 1, 3, 3, 3), {"padding": 1, "groups": 32}
    ),
    "depthwise, stride 2": Case(
        (1, 64, 64, 64, 64), (64, 1, 3, 3, 3), {"padding": 1, "groups": 64, "stride": 2}
    ),
    "8 groups of 4": Case(
        (1, 32, 64, 64, 64), (32, 4, 3, 3, 3), {"padding": 1, "groups": 8}
    ),
    "4 groups of 8": Case(
        (1, 32, 64, 64, 64), (32, 8, 3, 3, 3), {"padding": 1, "groups": 4}
    ),
    "first layer": Case((1, 1, 96, 96, 96), (32, 1, 3, 3, 3), {"padding": 1}),
}


HEADER = (
    f"{'case':22} {'pass':16} {'dtype':9} {'kernel':>10} {'twin':>10} {'mx.conv3d':>10}"
)


def time_rows(cases: dict[str, Case], repeats: int) -> Iterator[str]:
    """Median milliseconds of each pass: kernel, twin, and what MLX alone would do."""
    for name, case in cases.items():
        for dtype in (mx.float32, mx.float16):
            arrays = arrays_of(case, dtype)
            theirs = _mlx_passes(case, arrays)
            mx.eval(arrays)
            for (what, pair), other in zip(CONVOLUTIONS.items(), theirs, strict=True):
                chosen = [arrays[key] for key in pair.arrays]
                runs = [
                    functools.partial(pair.kernel, *chosen, case.geometry),
                    functools.partial(pair.twin, *chosen, case.geometry),
                    other,
                ]
                times = " ".join(f"{ms:10.3f}" for ms in _medians(runs, repeats))
                yield f"{name:22} {what:16} {dtype_name(dtype):9} {times}"


def _mlx_passes(
    case: Case, arrays: dict[str, mx.array]
) -> list[Callable[[], mx.array]]:
    """mx.conv3d over the groups, and MLX's derivatives of it."""
    x, dy = arrays["x"], arrays["dy"]
    w = mx.contiguous(arrays["w"].transpose(0, 2, 3, 4, 1))
    mx.eval(w)
    groups = case.options.get("groups", 1)
    options = {k: v for k, v in case.options.items() if k in ("stride", "padding")}

    def forward(x: mx.array, w: mx.array) -> mx.array:
        parts = zip(mx.split(x, groups, axis=-1), mx.split(w, groups), strict=True)
        return mx.concatenate([mx.conv3d(*p, **options) for p in parts], axis=-1)

    return [
        lambda: forward(x, w),
        lambda: mx.vjp(lambda x: [forward(x, w)], [x], [dy])[1][0],
        lambda: mx.vjp(lambda w: [forward(x, w)], [w], [dy])[1][0],
    ]


def _medians(runs: Sequence[Callable[[], mx.array]], repeats: int) -> list[float]:
    """Milliseconds of each, taking turns, after a round that compiles."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats + 1):
        for run, taken in zip(runs, times, strict=True):
            mx.synchronize()
            start = time.perf_counter()
            mx.eval(run())
            taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken[1:]) for taken in times]
