"""`.safetensors`: the header's length, the header in JSON, the arrays' bytes."""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
from pathlib import Path
from typing import IO, Any

from lucid._types import DTYPES, dtype_name
from lucid.files.arrays import (
    BFLOAT16,
    memory_problem,
    read_array,
    shape_problem,
    write_array,
)
from lucid.files.error import CheckpointError
import mlx.core as mx
import numpy as np

# As the format's own library bounds it.
_LONGEST_HEADER = 100_000_000
_DTYPES = {
    **{"BOOL": "bool", "F16": "float16", "F32": "float32", "F64": "float64"},
    **{"U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64"},
    **{"I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64"},
    **{"BF16": "bfloat16", "C64": "complex64"},
}
_NAMES = {name: key for key, name in _DTYPES.items()}
# The format has them, MLX has not.
_UNKNOWN_TO_MLX = (
    *("F4", "F6_E2M3", "F6_E3M2", "F8_E4M3", "F8_E5M2", "F8_E8M0"),
    *("F8_E4M3FNUZ", "F8_E5M2FNUZ"),
)


def write_safetensors(file: IO[bytes], arrays: Mapping[str, mx.array]) -> None:
    """The header in the order of `arrays`; the bytes with wide items first, aligned."""
    stored = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    offsets, end = {}, 0
    for name in stored:
        offsets[name] = [end, end + arrays[name].nbytes]
        end += arrays[name].nbytes
    header = {
        name: {
            "dtype": _NAMES[dtype_name(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": offsets[name],
        }
        for name, array in arrays.items()
    }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _LONGEST_HEADER:
        raise ValueError("`state` has too many names for a .safetensors file.")
    file.write(len(text).to_bytes(8, "little") + text)
    for name in stored:
        write_array(file, arrays[name])


def read_safetensors(file: IO[bytes], path: Path) -> dict[str, mx.array]:
    """The arrays by name, in the order of the header.

    Raises:
        CheckpointError: if the header does not describe the file, to the last byte.
    """
    header, start = _read_header(file, path)
    _check_entries(header, os.fstat(file.fileno()).st_size - start, path)
    arrays = {}
    for name, entry in header.items():
        file.seek(start + entry["data_offsets"][0])
        dtype = _DTYPES[entry["dtype"]]
        numpy_dtype = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)

        def fill(buffer: memoryview, name: str = name) -> None:
            if file.readinto(buffer) != len(buffer):  # type: ignore[attr-defined]
                raise CheckpointError(path, "ends too early", name)

        try:
            arrays[name] = read_array(fill, numpy_dtype, tuple(entry["shape"]))
        except MemoryError:
            problem = "is larger than the memory that is left"
            raise CheckpointError(path, problem, name) from None
    return arrays


def _read_header(file: IO[bytes], path: Path) -> tuple[dict[str, Any], int]:
    """The header's entries, and where the arrays' bytes start."""
    total = os.fstat(file.fileno()).st_size
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if total < 8 or length > total - 8:
        raise CheckpointError(path, "the header is longer than the file")
    if length > _LONGEST_HEADER:
        problem = f"the header has {length} bytes, more than {_LONGEST_HEADER}"
        raise CheckpointError(path, problem)
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(path, f"the header is damaged ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(path, "the header is not a JSON object")
    _check_metadata(header.pop("__metadata__", None), path)
    return header, 8 + length


def _check_metadata(metadata: Any, path: Path) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise CheckpointError(path, "the metadata are not strings")


def _check_entries(header: dict[str, Any], held: int, path: Path) -> None:
    """Refuse entries that do not cover the arrays' bytes, each of them once."""
    for name, entry in header.items():
        problem = _entry_problem(name, entry)
        if problem is not None:
            raise CheckpointError(path, problem, name)
    end = largest = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        if start != end or stop > held:
            problem = "overlaps, leaves a hole or runs past the end"
            raise CheckpointError(path, problem, name)
        end, largest = stop, max(largest, stop - start)
    if end != held:
        raise CheckpointError(path, "has bytes after its last entry")
    problem = memory_problem(held, largest)
    if problem is not None:
        raise CheckpointError(path, problem)


def _entry_problem(name: str, entry: Any) -> str | None:
    """Why name, dtype, shape and offsets make no array; None if they do."""
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return "is a name that is not Unicode"
    if not isinstance(entry, dict):
        return "is not described by an object"
    dtype, shape, offsets = map(entry.get, ("dtype", "shape", "data_offsets"))
    if dtype in _UNKNOWN_TO_MLX:
        return (
            f"has dtype {dtype}, which MLX does not have; save it as F16, BF16 or F32"
        )
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        return f"has an unknown dtype: {dtype!r:.40}"
    if not isinstance(shape, list):
        return f"has no sound shape: {shape!r:.40}"
    if not isinstance(offsets, list) or [*map(type, offsets)] != [int, int]:
        return f"has no sound offsets: {offsets!r:.40}"
    held = offsets[1] - offsets[0]
    return shape_problem(tuple(shape), DTYPES[_DTYPES[dtype]].size, held)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)
