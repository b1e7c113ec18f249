"""How fast a GPU copies and multiplies, to measure kernels by."""

from __future__ import annotations

from collections.abc import Callable
import functools
from typing import NamedTuple

from lucid.metal import launch
from lucid.tuning import timing
import mlx.core as mx

CHAINS = 16  # of each thread of `multiply_add.metal`
COPIED = 2**26  # floats: more than any cache holds
THREADS, ROUNDS = 2**18, 2**10


class Peak(NamedTuple):
    """Bytes read and written, and multiply-adds in float32, in a second."""

    bytes: float
    multiply_adds: float


def measured_peak(repeats: int) -> Peak:
    """The best of some runs."""
    x = mx.zeros(COPIED)
    copying = _seconds(lambda x: [mx.abs(x)], x, repeats)
    run = functools.partial(multiply_add_kernel, rounds=ROUNDS)
    multiplying = _seconds(lambda x: [run(x)], mx.zeros(THREADS), repeats)
    return Peak(2 * x.nbytes / copying, THREADS * CHAINS * ROUNDS / multiplying)


def _seconds(
    run: Callable[[mx.array], list[mx.array]], x: mx.array, repeats: int
) -> float:
    mx.eval(x)
    return min(timing.seconds(run, [x], launches=4) for _ in range(repeats + 1))


def multiply_add_kernel(x: mx.array, rounds: int) -> mx.array:
    """For each of `x`, the sum of the chains that start at x, x + 1 ... x + 15."""
    return launch.launch(
        "multiply_add",
        inputs={"x": x, "rounds": launch.integers(rounds)},
        template={},
        threads=(x.size, 1, 1),
        shape=x.shape,
        dtype=mx.float32,
    )
