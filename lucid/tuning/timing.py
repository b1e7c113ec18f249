"""Which of several ways to compute the same is the fastest here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import math
import time

from lucid import _device
import mlx.core as mx

Run = Callable[..., Sequence[mx.array]]
Times = dict[str, float | None]
"""Milliseconds of each by name; None for one that raised."""

# Launches of one evaluation, at most: a GPU's launch takes tens of microseconds.
LAUNCHES = 20
# Seconds that an evaluation should take, and that all of them may.
SAMPLE, BUDGET = 0.004, 1.0
ROUNDS = (3, 12)
# How many times the best one's time makes a run hopeless after its first.
HOPELESS = 3
# Seconds that something else on the machine may take from a first run.
UNREST = 0.05

clock = time.perf_counter


def race(runs: Mapping[str, Run], arrays: Sequence[mx.array]) -> Times:
    """The time of every run over the same arrays: the least of some, taking turns.

    What else a machine does can only add. A run that raises (a kernel that does not
    compile, memory that is not there) has no time.
    """
    mx.eval(*arrays)
    times = _first_times(runs, arrays)
    best = min((t for t in times.values() if t is not None), default=0.0)
    alive = [
        name for name, t in times.items() if t is not None and t <= HOPELESS * best
    ]
    if len(alive) > 1:
        launches = _launches(best)
        for _ in range(_rounds([times[name] for name in alive], launches)):
            for name in alive:
                times[name] = _least(times[name], runs[name], arrays, launches)
    return {name: None if t is None else 1000 * t for name, t in times.items()}


def _first_times(
    runs: Mapping[str, Run], arrays: Sequence[mx.array]
) -> dict[str, float | None]:
    """Of one launch; a first one on a GPU compiles, and is not counted."""
    times: dict[str, float | None] = {}
    best = math.inf
    for name, run in runs.items():
        taken = _least(math.inf, run, arrays)
        if taken is not None and _device.on_gpu():
            taken = _least(math.inf, run, arrays)
        elif taken is not None and taken <= max(HOPELESS * best, UNREST):
            taken = _least(taken, run, arrays)
        times[name] = taken
        best = best if taken is None else min(best, taken)
    return times


def _least(
    before: float | None, run: Run, arrays: Sequence[mx.array], launches: int = 1
) -> float | None:
    """The less of a time and another; None for what raises, or has raised before."""
    if before is None:
        return None
    try:
        return min(before, seconds(run, arrays, launches))
    except Exception:  # noqa: BLE001  whatever MLX or Metal's compiler says
        return None


def _launches(best: float) -> int:
    return max(1, min(LAUNCHES, math.ceil(SAMPLE / max(best, 1e-9))))


def _rounds(times: Sequence[float | None], launches: int) -> int:
    round_takes = launches * sum(t or 0.0 for t in times)
    fewest, most = ROUNDS
    return max(fewest, min(most, int(BUDGET / max(round_takes, 1e-9))))


def seconds(run: Run, arrays: Sequence[mx.array], launches: int = 1) -> float:
    """Of one launch, of `launches` in one evaluation, each waiting for the last.

    On a CPU, making the graph counts: it is part of what small volumes cost. A GPU
    computes meanwhile.
    """
    mx.synchronize()
    start = clock()
    outputs = _chain(run, arrays, launches)
    if _device.on_gpu():
        start = clock()
    mx.eval(*outputs)
    return (clock() - start) / launches


def _chain(run: Run, arrays: Sequence[mx.array], launches: int) -> Sequence[mx.array]:
    """The outputs of the last launch: those before it need not be kept."""
    outputs = run(*arrays)
    for _ in range(launches - 1):
        outputs = run(*mx.depends(list(arrays), list(outputs)))
    return outputs
