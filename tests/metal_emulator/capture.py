"""The source that MLX generates for a custom kernel, with no Metal at hand.

`mx.export_function` traces the call and hands over its primitives, one of which holds
the generated source, the grid and the outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx

from .errors import EmulationError


@dataclass(frozen=True)
class Kernel:
    """One call of a custom kernel, as MLX would dispatch it.

    `shape_info` says for each input whether its shape, strides and number of
    dimensions follow it as further buffers. Dtypes are names, which can be pickled.
    """

    name: str
    source: str
    grid: tuple[int, int, int]
    threadgroup: tuple[int, int, int]
    shape_info: tuple[tuple[bool, bool, bool], ...]
    output_shapes: tuple[tuple[int, ...], ...]
    output_dtypes: tuple[str, ...]


def capture(function: Callable[..., object], inputs: Sequence[mx.array]) -> Kernel:
    """Traces `function(*inputs)`, which must call one custom kernel and no more."""
    records = []
    stand_ins = [mx.zeros(x.shape, x.dtype) for x in inputs]
    mx.export_function(records.append, function, *stand_ins)
    primitives = [r for r in records if r["type"] == "primitive"]
    names = [r["name"] for r in primitives]
    if names != ["CustomKernel"]:
        raise EmulationError(f"expected one custom kernel, but got {names}")
    kernel = primitives[0]
    name, source, *sizes, shape_info, row_contiguous = kernel["arguments"][:10]
    if not row_contiguous:
        raise EmulationError(f"{name}: ensure_row_contiguous=False is not emulated")
    _check_order(kernel, records)
    return Kernel(
        name=name,
        source=source,
        grid=tuple(sizes[:3]),
        threadgroup=tuple(sizes[3:]),
        shape_info=tuple(shape_info),
        output_shapes=tuple(tuple(shape) for _, shape, _ in kernel["outputs"]),
        output_dtypes=tuple(dtype_name(dtype) for _, _, dtype in kernel["outputs"]),
    )


def dtype_name(dtype: mx.Dtype) -> str:
    return str(dtype).rpartition(".")[2]


def _check_order(kernel: dict, records: list[dict]) -> None:
    """The kernel's inputs must be the function's, in the same order."""
    (declared,) = (r["inputs"] for r in records if r["type"] == "inputs")
    if [name for name, *_ in kernel["inputs"]] != [name for name, *_ in declared]:
        raise EmulationError("the kernel's inputs are not the function's, in order")
