"""The archives of `torch.save` since PyTorch 1.6: `data.pkl` beside its storages."""

from __future__ import annotations

import io
from typing import Any

from lucid.files.archive import Archive
from lucid.files.entry import Entry
from lucid.files.pytorch.known import Known
from lucid.files.pytorch.stream import Stream
from lucid.files.pytorch.tree import Survey, finish
from lucid.files.pytorch.unpickle import unpickle
from lucid.files.pytorch.values import RefusedError, Tensor
from lucid.files.pytorch.views import read_tensors
import mlx.core as mx
import numpy as np

_PICKLE = "/data.pkl"
_LONGEST_PICKLE = 2**30


class TorchArchive:
    """The entries of an archive under the one folder that PyTorch puts them in."""

    def __init__(self, archive: Archive, folder: str):
        self.archive, self.folder = archive, folder
        self.pickle = folder + _PICKLE

    def stored(self, name: str) -> Entry:
        """An entry that must be there, its bytes as they are.

        Raises:
            CheckpointError: if it is not, or is compressed.
        """
        full = f"{self.folder}/{name}"
        if full not in self.archive.entries:
            raise self.archive.refuse("is missing", full)
        entry = self.archive.entries[full]
        if entry.deflated:
            raise self.archive.refuse("is compressed, where PyTorch stores", full)
        return entry

    def unpickle(self, makers: Known) -> Any:
        """The value of `data.pkl`."""
        data = self.archive.read(self.stored("data.pkl"), _LONGEST_PICKLE)
        stream = Stream(io.BytesIO(data), len(data))
        value = unpickle(stream, makers, self.archive.path, self.pickle)
        if stream.position != len(data):
            raise self.archive.refuse("has bytes after its end", self.pickle)
        return value

    def read_tensors(self, tensors: dict[Tensor, None]) -> dict[Tensor, mx.array]:
        return read_tensors(tensors, self._read_storage, self._is_big_endian())

    def _read_storage(self, key: str, size: int) -> np.ndarray:
        entry = self.stored(f"data/{key}")
        if entry.size != size:
            raise self.archive.refuse(f"has {entry.size} bytes of {size}", entry.name)
        data = np.empty(size, np.uint8)
        stream = self.archive.open(entry)
        stream.fill(data.data)
        stream.finish()
        return data

    def _is_big_endian(self) -> bool:
        if f"{self.folder}/byteorder" not in self.archive.entries:
            return False  # before PyTorch 2.1
        order = self.archive.read(self.stored("byteorder"), most=100)
        if order not in (b"little", b"big"):
            raise self.archive.refuse(f"has byte order {order!r}")
        return order == b"big"


def torch_folder(archive: Archive) -> str | None:
    """The folder of a checkpoint's entries; None if this is another archive."""
    folders = [
        name.removesuffix(_PICKLE)
        for name in archive.entries
        if name.endswith(_PICKLE) and name.count("/") == 1
    ]
    return folders[0] if len(folders) == 1 else None


def read_zip(archive: Archive, folder: str, unknown: str) -> Any:
    """What was saved, in plain containers.

    Raises:
        CheckpointError: if it is damaged, or holds what is not read.
    """
    torch_archive = TorchArchive(archive, folder)
    size = archive.entries[torch_archive.pickle].size
    value = torch_archive.unpickle(Known(unknown, size))
    try:
        survey = Survey(value)
        return finish(value, torch_archive.read_tensors(survey.tensors))
    except RefusedError as error:
        raise archive.refuse(str(error), torch_archive.pickle) from None
