"""Work on two streams by turns: MLX's CPU backend computes a stream on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import itertools
from typing import TypeVar

import mlx.core as mx

Part = TypeVar("Part")

_SECOND_STREAM = mx.new_thread_local_stream(mx.cpu)  # one for each thread of Python's


def by_turns(
    function: Callable[[Part], mx.array], parts: Iterable[Part]
) -> list[mx.array]:
    """`function` of each part, on this stream and another by turns."""
    streams = itertools.cycle([mx.default_stream(mx.default_device()), _SECOND_STREAM])
    results = []
    for part in parts:
        with mx.stream(next(streams)):
            results.append(function(part))
    return results
