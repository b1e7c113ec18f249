"""`.safetensors`: a JSON header and the arrays' bytes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import IO, Any

from lucid._types import LONGEST
from lucid.files.error import CheckpointError
import mlx.core as mx

_BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2},
    **{"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "C64": 8},
}


def read_safetensors(file: IO[bytes], path: Path) -> dict[str, mx.array]:
    _check(file, path)
    try:
        arrays: Any = mx.load(str(path))
        mx.eval(list(arrays.values()))
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(path, f"damaged ({error})") from error
    return arrays


def _check(file: IO[bytes], path: Path) -> None:
    """Refuse a header that does not describe the file (format: u64, JSON, data)."""
    total = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if total < 8 or length > total - 8:
        raise CheckpointError(path, "the header is longer than the file")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"the header is damaged ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(path, "the header is not a JSON object")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if not _describes(entry):
            raise CheckpointError(path, f"is not described soundly: {entry!r}", name)
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        if start != end or stop > total - 8 - length:
            raise CheckpointError(
                path, "overlaps, leaves a hole or runs past the end", name
            )
        end = stop
    if end != total - 8 - length:
        raise CheckpointError(path, "has bytes after its last entry")


def _describes(entry: Any) -> bool:
    """Whether dtype, shape and offsets agree with each other."""
    if not isinstance(entry, dict):
        return False
    itemsize = _BYTES.get(str(entry.get("dtype")))
    shape, offsets = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if itemsize is None or shape is None or offsets is None or len(offsets) != 2:
        return False
    start, stop = offsets
    fits = stop - start == math.prod(shape) * itemsize
    return fits and all(length <= LONGEST for length in shape)


def _sizes(value: Any) -> list[int] | None:
    """A list of whole numbers from 0 on, or None."""
    sound = isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
    return value if sound else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)
