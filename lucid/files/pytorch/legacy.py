"""The files of `torch.save` before PyTorch 1.6: five pickles, then the storages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

from lucid.files.error import CheckpointError
from lucid.files.pytorch.known import Known
from lucid.files.pytorch.stream import Stream
from lucid.files.pytorch.tree import Survey, finish
from lucid.files.pytorch.unpickle import unpickle
from lucid.files.pytorch.values import RefusedError
from lucid.files.pytorch.views import read_tensors, storage_bytes
import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
MAGIC_BYTES = _MAGIC.to_bytes(10, "little")
_PROTOCOL = 1001
_COUNT = 8  # bytes of a storage's number of items


def read_legacy(file: IO[bytes], path: Path, unknown: str) -> Any:
    """What was saved, in plain containers.

    Raises:
        CheckpointError: if it is damaged, or holds what is not read.
    """
    end = os.fstat(file.fileno()).st_size
    file.seek(0)
    stream, known = Stream(file, end), Known(unknown, end)

    def next_value() -> Any:
        return unpickle(stream, known, path, None)

    if next_value() != _MAGIC or next_value() != _PROTOCOL:
        raise CheckpointError(path, "has another version of PyTorch's old format")
    match next_value():
        case {"little_endian": bool(little_endian)}:
            pass
        case _:
            raise CheckpointError(path, "does not say in which order its bytes are")
    value, keys = next_value(), next_value()
    storages = _Storages(file, path, known, "little" if little_endian else "big")
    storages.locate(keys, stream.position, end)
    try:
        survey = Survey(value)
        arrays = read_tensors(survey.tensors, storages.read, not little_endian)
        return finish(value, arrays)
    except RefusedError as error:
        raise CheckpointError(path, str(error)) from None


class _Storages:
    """Where in the file each storage's bytes are."""

    def __init__(self, file: IO[bytes], path: Path, known: Known, order: Any):
        self.file, self.path, self.known, self.order = file, path, known, order
        self.starts: dict[str, int] = {}

    def locate(self, keys: Any, position: int, end: int) -> None:
        """Go through the storages, which must fill the file from `position` on."""
        known = self.known.storages
        strings = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not strings or len(set(keys)) != len(keys) or set(keys) != known.keys():
            raise CheckpointError(self.path, "has a damaged list of storages")
        for key in keys:
            self.file.seek(position)
            count = int.from_bytes(self.file.read(_COUNT), self.order)
            if count != known[key].items or position + _COUNT > end:
                problem = f"has a storage of {count} items, not {known[key].items}"
                raise CheckpointError(self.path, problem, place=f"byte {position}")
            self.starts[key] = position + _COUNT
            position = self.starts[key] + storage_bytes(known[key])
        if position != end:
            problem = (
                "ends in the middle" if position > end else "has bytes after its end"
            )
            raise CheckpointError(self.path, problem)

    def read(self, key: str, size: int) -> np.ndarray:
        data = np.empty(size, np.uint8)
        self.file.seek(self.starts[key])
        if self.file.readinto(data.data) != size:  # type: ignore[attr-defined]
            raise CheckpointError(self.path, "ends in the middle")
        return data
