"""Arrays as bytes of a file: checked, then never held more than twice."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import IO, Any

from lucid._types import DTYPES, LONGEST, physical_memory, plain_numpy
import mlx.core as mx
import numpy as np

# How MLX writes bfloat16 in .npy headers: two opaque bytes, which NumPy can carry.
BFLOAT16 = np.dtype("V2")
# Where an array has more axes, NumPy raises and `np.array` of MLX's kills the process.
MOST_AXES = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
_BLOCK = 2**20


def shape_problem(shape: tuple[int, ...], itemsize: int, held: int) -> str | None:
    """Why no array of `held` bytes has this shape; None if one has."""
    if not all(type(length) is int and 0 <= length <= LONGEST for length in shape):
        return "has an impossible shape"
    if len(shape) > MOST_AXES:
        return f"has {len(shape)} axes, more than {MOST_AXES}"
    claimed = math.prod(shape) * itemsize
    if claimed != held:
        return f"claims {claimed} bytes for shape {shape}, but has {held}"
    return None


def memory_problem(total: int, largest: int) -> str | None:
    """Why arrays of `total` bytes, the largest held twice, cannot be read here."""
    if total + largest <= physical_memory():
        return None
    return f"claims to be larger than memory ({total / 2**30:.1f} GiB)"


def read_array(
    fill: Callable[[memoryview], None],
    dtype: np.dtype,
    shape: tuple[int, ...],
    fortran_order: bool = False,
) -> mx.array:
    """The next array of a file; `fill` fills a buffer with the file's next bytes.

    Raises:
        MemoryError: if there is no memory for it.
    """
    array = np.empty(shape, dtype)
    _fill(fill, array.T if fortran_order else array)
    if array.dtype.byteorder == ">":
        array = array.byteswap(inplace=True).view(array.dtype.newbyteorder("<"))
    if array.dtype == np.bool_:  # a byte of 2 is true, and must be 1
        np.not_equal(array.view(np.uint8), 0, out=array)
    return to_mlx(array)


def _fill(fill: Callable[[memoryview], None], array: np.ndarray) -> None:
    """Fill an array, row by row whatever its strides, with no second one beside it."""
    if array.flags.c_contiguous:
        fill(array.reshape(-1).view(np.uint8).data)
    elif array.nbytes <= _BLOCK:
        block = np.empty(array.shape, array.dtype)
        _fill(fill, block)
        array[...] = block
    else:
        rows = max(_BLOCK // array[:1].nbytes, 1)
        for start in range(0, len(array), rows):
            _fill(fill, array[start : start + rows] if rows > 1 else array[start])


def to_numpy(array: mx.array) -> np.ndarray:
    """The same numbers, not copied; bfloat16 as two opaque bytes."""
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16), copy=False).view(BFLOAT16)
    return np.array(array, copy=False)


def to_mlx(array: np.ndarray) -> mx.array:
    """A copy: the same numbers and dtype. MLX alone would make float64 float32.

    Raises:
        MemoryError: if there is no memory for it, of which MLX would die.
    """
    np.empty(array.nbytes, np.uint8)
    if array.dtype == BFLOAT16:
        bits = np.require(array, requirements="C").view(np.uint16)
        copy = mx.array(bits).view(mx.bfloat16)
        mx.eval(copy)
        return copy
    return mx.array(plain_numpy("array", array), DTYPES[array.dtype.name])


def write_array(file: IO[bytes], array: mx.array) -> None:
    """The array's bytes, rows one after another, without a copy of it."""
    blocks: Any = np.nditer(
        to_numpy(array),
        ["external_loop", "buffered", "zerosize_ok"],
        buffersize=_BLOCK // array.itemsize,
        order="C",
    )
    for block in blocks:
        file.write(block.tobytes())
