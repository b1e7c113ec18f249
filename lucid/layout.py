"""The order of a volume's axes in memory: channels first on a CPU, last on a GPU.

A GPU's convolutions leave NCDHW views of channels-last memory. An operation on one such
view keeps its order; on two, MLX would write channels-first memory, and the next
convolution copy it back. So operations run on the memory as it is.
"""

from __future__ import annotations

from collections.abc import Callable

from lucid import _device
import mlx.core as mx


def in_memory_order(
    function: Callable[[mx.array, int], mx.array], x: mx.array
) -> mx.array:
    """`function(x, channel_axis)` of the volumes (N, C, D, H, W) as memory has them.

    `channel_axis` is 1, or 4 where `x` is seen as (N, D, H, W, C).
    """
    if x.ndim != 5 or not _device.on_gpu():
        return function(x, 1)
    return function(x.transpose(0, 2, 3, 4, 1), 4).transpose(0, 4, 1, 2, 3)


def spatial_axes(channel_axis: int) -> tuple[int, int, int]:
    """Of depth, height and width, of five axes."""
    return (2, 3, 4) if channel_axis == 1 else (1, 2, 3)
