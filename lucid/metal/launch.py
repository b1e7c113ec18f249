"""Launching the Metal kernels of `kernels/*.metal`."""

from __future__ import annotations

from collections.abc import Callable
import functools
from importlib import resources
from typing import Any

import mlx.core as mx

# Threads of a threadgroup, at most: what a kernel gets even if it fills its registers.
LARGEST_GROUP = 256

_KERNELS = resources.files("lucid.metal") / "kernels"


def launch(
    name: str,
    inputs: dict[str, mx.array],
    template: dict[str, int | bool | mx.Dtype],
    threads: tuple[int, int, int],
    shape: tuple[int, ...],
    dtype: mx.Dtype,
) -> mx.array:
    """The output of one Metal kernel, an array of `shape` and `dtype`.

    Args:
        name: a file of `kernels/`, without its ending.
        inputs: the arrays, by their names in the source; made row-contiguous.
        template: the constants that the source is compiled with.
        threads: how many along x, y and z.
        shape: the output's shape.
        dtype: the output's dtype.
    """
    (out,) = compiled(name, tuple(inputs))(
        inputs=list(inputs.values()),
        template=list(template.items()),
        grid=threads,
        threadgroup=threadgroup(threads),
        output_shapes=[shape],
        output_dtypes=[dtype],
    )
    return out


@functools.cache
def source(name: str) -> str:
    """The text of `kernels/<name>.metal`."""
    return (_KERNELS / f"{name}.metal").read_text()


@functools.cache
def compiled(name: str, input_names: tuple[str, ...]) -> Callable[..., list[mx.array]]:
    kernel: Any = mx.fast.metal_kernel(
        name=f"lucid_{name}",
        input_names=input_names,
        output_names=["out"],
        source=source(name),
        header=source("common"),
    )
    return kernel


def threadgroup(threads: tuple[int, int, int]) -> tuple[int, int, int]:
    """As many threads as fit, along x first: neighbors in memory run together."""
    x = min(threads[0], LARGEST_GROUP)
    y = min(threads[1], LARGEST_GROUP // x)
    return x, y, min(threads[2], LARGEST_GROUP // (x * y))


@functools.lru_cache(maxsize=1024)
def integers(*values: int) -> mx.array:
    """A kernel's int32 argument. Below eight numbers MLX puts it in constant memory."""
    return mx.array(values, mx.int32)
