"""Compiling every kernel first, and how many threads of a group its pipeline takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
import re
import time

from lucid._types import dtype_name
from lucid.metal import launch
from lucid.metal.check import TOLERANCES, Comparison
import mlx.core as mx

MOST_THREADS = 1024  # of a group, on every Apple GPU
_LIMIT = re.compile(r"maximum allowed threads per\s+threadgroup \((\d+)\)")


@dataclass
class Compiled:
    """The first uses of a kernel.

    Attributes:
        milliseconds: of each, nearly all of them the compiler's: the arrays are tiny.
        messages: of those that failed.
    """

    milliseconds: list[float] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def compile_all(comparisons: Iterable[Comparison]) -> dict[str, Compiled]:
    """Every kernel in every dtype, by name."""
    compiled: dict[str, Compiled] = {}
    for comparison in comparisons:
        found = compiled.setdefault(comparison.what, Compiled())
        for dtype in TOLERANCES:
            try:
                found.milliseconds.append(_compile(comparison, dtype))
            except Exception as error:  # noqa: BLE001  what Metal's compiler says
                where = f"{comparison.case}, {dtype_name(dtype)}"
                found.messages.append(f"{where}: {type(error).__name__}: {error}")
    return compiled


def _compile(comparison: Comparison, dtype: mx.Dtype) -> float:
    start = time.perf_counter()
    mx.eval([got for got, _ in comparison.compute(dtype)])
    return 1000 * (time.perf_counter() - start)


def most_threads(run: Callable[[], object]) -> int:
    """What the pipeline of a kernel takes in a group: the fewer, the more registers.

    MLX refuses a larger group in an error that has the number.
    """
    try:
        with launch.groups_of(MOST_THREADS):
            mx.eval(run())
    except ValueError as error:
        limit = _LIMIT.search(str(error))
        if limit is None:
            raise
        return int(limit.group(1))
    return MOST_THREADS
