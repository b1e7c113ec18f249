"""The order of a volume's axes in memory: channels first on a CPU, last on a GPU.

One rule for every operation on volumes on a GPU: it takes channels-last memory, works
on it, and gives back its NCDHW view. The views cost nothing, and the next operation has
its memory as it wants it. An operation of MLX's on two such views would write
channels-first memory, which a convolution has to copy back.

Whoever needs the memory without gaps, as Metal kernels and MLX's convolutions do, asks
for it once: MLX would copy what has another order at every launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lucid import _device
import mlx.core as mx


def channels_last(x: mx.array) -> mx.array:
    """(N, C, D, H, W) -> (N, D, H, W, C)."""
    return x.transpose(0, 2, 3, 4, 1)


def channels_first(x: mx.array) -> mx.array:
    """(N, D, H, W, C) -> (N, C, D, H, W)."""
    return x.transpose(0, 4, 1, 2, 3)


def contiguous(x: mx.array) -> mx.array:
    """`x` without gaps on a GPU: itself if it is, else a copy for all who read it.

    Not without Lucid's Metal kernels: what is computed by MLX's operations alone may
    be exported, and MLX does not export this one.
    """
    wanted = _device.on_gpu() and not _device.metal_switched_off()
    return mx.contiguous(x) if wanted else x


def in_order(x: mx.array, axes: tuple[int, ...]) -> mx.array:
    """`x` as it is; on a GPU with its axes in memory in the order of `axes`."""
    back = sorted(range(x.ndim), key=axes.__getitem__)
    return contiguous(x.transpose(axes)).transpose(back)


def in_memory_order(function: Callable[..., mx.array], *volumes: mx.array) -> mx.array:
    """`function(*volumes, channel_axis)` of volumes as memory has them.

    They are (N, C, D, H, W), or no volumes at all. `channel_axis` is 1, or 4 where they
    are seen as (N, D, H, W, C); the result is then seen as (N, C, D, H, W) again.
    """
    if not _device.on_gpu() or any(x.ndim != 5 for x in volumes):
        return function(*volumes, 1)
    return channels_first(function(*map(channels_last, volumes), 4))


def elementwise(function: Callable[..., mx.array], *volumes: mx.array) -> mx.array:
    """`function(*volumes)`, which has no axes, in the order that memory has."""
    if not _device.on_gpu():  # at once: small volumes would notice
        return function(*volumes)
    return in_memory_order(lambda *of: function(*of[:-1]), *volumes)


def add(x: mx.array, y: mx.array) -> mx.array:
    """The sum of two volumes, which `+` would leave channels-first on a GPU."""
    return elementwise(mx.add, x, y)


def concatenate(arrays: Sequence[mx.array], axis: int) -> mx.array:
    """`mx.concatenate`, in the order that memory has."""
    if not _device.on_gpu():
        return mx.concatenate(list(arrays), axis=axis)

    def join(*arguments: Any) -> mx.array:
        *parts, channel_axis = arguments
        return mx.concatenate(parts, axis=axis_in_memory(axis, channel_axis))

    return in_memory_order(join, *arrays)


def axis_in_memory(axis: int, channel_axis: int) -> int:
    """Where `axis` of (N, C, D, H, W) is if the channels are at `channel_axis`."""
    return axis if channel_axis == 1 else (0, 4, 1, 2, 3)[axis]


def spatial_axes(channel_axis: int) -> tuple[int, int, int]:
    """Of depth, height and width, of five axes."""
    return (2, 3, 4) if channel_axis == 1 else (1, 2, 3)
