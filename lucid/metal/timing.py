"""Timing the kernels: of the GPU's speed, beside MLX's operations and PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import functools
import math
import statistics

from lucid._types import dtype_name
from lucid.metal import beside_torch
from lucid.metal.check import CONVOLUTIONS, Case, arrays_of
from lucid.metal.compiling import most_threads
from lucid.metal.peak import Peak
from lucid.tuning import timing
from lucid.tuning.timing import Run
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
    "dense, 16 channels": Case((1, 16, 64, 64, 64), (16, 16, 3, 3, 3), {"padding": 1}),
    "dense, 32 channels": Case((1, 32, 64, 64, 64), (32, 32, 3, 3, 3), {"padding": 1}),
}

HEADER = (
    f"{'case':20} {'pass':15} {'dtype':8} {'kernel':>9} {'GB/s':>7} {'of copy':>7} "
    f"{'of peak':>7} {'threads':>7} {'MLX':>9}"
)


def header(torch: str | None) -> str:
    """The names of the columns; PyTorch's device's, where it is timed."""
    return HEADER if torch is None else f"{HEADER} {f'PyTorch {torch}':>11}"


def time_rows(
    cases: dict[str, Case], peak: Peak, repeats: int, launches: int, torch: str | None
) -> Iterator[str]:
    """Milliseconds of each pass of each case, and what share of the GPU that is.

    The bytes are those that any kernel must read and write once.
    """
    for name, case in cases.items():
        for dtype in (mx.float32, mx.float16):
            line = f"{name:20} {{:15}} {dtype_name(dtype):8}"
            beside = _by_torch(case, dtype, repeats, launches, torch)
            for what, last in zip(CONVOLUTIONS, beside, strict=True):
                try:
                    cells = _cells(case, what, dtype, peak, (repeats, launches))
                except Exception as error:  # noqa: BLE001  what Metal's compiler says
                    cells = f"FAILED: {type(error).__name__}: {error}"
                yield f"{line.format(what)} {cells}{last}"


def _cells(
    case: Case, what: str, dtype: mx.Dtype, peak: Peak, times: tuple[int, int]
) -> str:
    pair = CONVOLUTIONS[what]
    arrays = [arrays_of(case, dtype)[key] for key in pair.arrays]
    run = functools.partial(_kernel, pair.kernel, case)
    threads = str(most_threads(functools.partial(run, *arrays)))
    runs = [run, _mlx_passes(case)[what]]
    return cells(runs, arrays, peak, _products(case), threads, times)


def cells(
    runs: Sequence[Run],
    arrays: list[mx.array],
    peak: Peak,
    products: int,
    threads: str,
    times: tuple[int, int],
) -> str:
    """A row's numbers, of a kernel and of MLX's operations on the same arrays.

    `times` are repeats and launches.
    """
    ours, mlx = _medians(runs, arrays, *times)
    seconds = ours / 1000
    moved = sum(array.nbytes for array in [*arrays, *runs[0](*arrays)])
    share = f"{products / seconds / peak.multiply_adds:7.0%}" if products else " " * 7
    return (
        f"{ours:9.3f} {moved / seconds / 1e9:7.1f} {moved / seconds / peak.bytes:7.0%} "
        f"{share} {threads:>7} {mlx:9.3f}"
    )


def _kernel(
    kernel: Callable[..., mx.array], case: Case, *arrays: mx.array
) -> list[mx.array]:
    return [kernel(*arrays, case.geometry)]


def _products(case: Case) -> int:
    """Multiply-adds of each pass, those with padding too."""
    return math.prod(case.geometry.output_shape) * math.prod(case.weight[1:])


def _by_torch(
    case: Case, dtype: mx.Dtype, repeats: int, launches: int, torch: str | None
) -> list[str]:
    """PyTorch's column for the three passes; empty where it is not there."""
    if torch is None:
        return [""] * len(CONVOLUTIONS)
    try:
        name = dtype_name(dtype)
        times = beside_torch.medians(case, name, repeats, launches, torch)
    except Exception as error:  # noqa: BLE001  whatever PyTorch has not
        return [f"  {type(error).__name__}"] * len(CONVOLUTIONS)
    return [f" {ms:11.3f}" for ms in times]


def _mlx_passes(case: Case) -> dict[str, Run]:
    """mx.conv3d over the groups, and MLX's derivatives of it, on the same arrays."""
    groups = case.options.get("groups", 1)
    options = {k: v for k, v in case.options.items() if k in ("stride", "padding")}

    def convolve(x: mx.array, w: mx.array) -> mx.array:
        w = w.transpose(0, 2, 3, 4, 1)
        parts = zip(mx.split(x, groups, axis=-1), mx.split(w, groups), strict=True)
        outputs = [mx.conv3d(*part, **options) for part in parts]
        return outputs[0] if groups == 1 else mx.concatenate(outputs, axis=-1)

    def forward(x: mx.array, w: mx.array, b: mx.array) -> list[mx.array]:
        return [convolve(x, w) + b]

    def input_gradient(dy: mx.array, w: mx.array) -> list[mx.array]:
        g = case.geometry
        x = mx.zeros((g.batch, *g.input_size, g.in_channels), dy.dtype)
        return mx.vjp(lambda x: [convolve(x, w)], [x], [dy])[1]

    def weight_gradient(x: mx.array, dy: mx.array) -> list[mx.array]:
        w = mx.zeros(case.weight, x.dtype)
        return mx.vjp(lambda w: [convolve(x, w)], [w], [dy])[1]

    passes = (forward, input_gradient, weight_gradient)
    return dict(zip(CONVOLUTIONS, passes, strict=True))


def _medians(
    runs: Sequence[Run], arrays: list[mx.array], repeats: int, launches: int
) -> list[float]:
    """Milliseconds a launch of each, taking turns, after a round that compiles."""
    mx.eval(arrays)
    times: list[list[float]] = [[] for _ in runs]
    for i in range(repeats + 1):
        for run, taken in zip(runs, times, strict=True):
            seconds = timing.seconds(run, arrays, launches if i else 1)
            taken.append(1000 * seconds)
    return [statistics.median(taken[1:]) for taken in times]
