"""Kernels of a few lines, for the tests of the emulator itself."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from .capture import Kernel, capture
from .run import run

BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"


def tiny_kernel(
    source: str,
    *inputs: mx.array,
    grid: tuple[int, int, int] = (64, 1, 1),
    threadgroup: tuple[int, int, int] = (32, 1, 1),
    shape: tuple[int, ...] = (64,),
    dtype: mx.Dtype = mx.float32,
    template: Sequence[tuple[str, Any]] = (),
    header: str = "",
) -> Kernel:
    """A call of the kernel whose inputs are `a`, `b`, ... and whose output is `y`.

    In its source `i` is the position along x in the grid.
    """
    kernel: Any = mx.fast.metal_kernel(
        name="tiny",
        input_names=list("abcdef"[: len(inputs)]),
        output_names=["y"],
        source="const int i = int(thread_position_in_grid.x);\n" + source,
        header=header,
    )

    def call(*arrays: mx.array) -> list[mx.array]:
        return kernel(
            inputs=list(arrays),
            template=list(template),
            grid=grid,
            threadgroup=threadgroup,
            output_shapes=[shape],
            output_dtypes=[dtype],
        )

    return capture(call, inputs)


def result(source: str, *inputs: mx.array, **options: Any) -> np.ndarray:
    """The output of `tiny_kernel` with the same arguments; bfloat16 as uint16."""
    kernel = tiny_kernel(source, *inputs, **options)
    return run(kernel, [to_numpy(x) for x in inputs])[0]


def to_numpy(x: mx.array) -> np.ndarray:
    return np.array(x.view(mx.uint16) if x.dtype == mx.bfloat16 else x)
