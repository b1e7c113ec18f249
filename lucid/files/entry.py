"""One entry of a zip archive, read no further than it declares."""

from __future__ import annotations

from pathlib import Path
from typing import IO, NamedTuple
import zlib

from lucid.files.error import CheckpointError

_CHUNK = 2**20


class Entry(NamedTuple):
    """One file of an archive: `packed` bytes from `start` on make `size` bytes."""

    name: str
    start: int
    packed: int
    size: int
    checksum: int
    deflated: bool


class EntryReader:
    """The bytes of one entry, one after another, at most as many as it declares."""

    def __init__(self, file: IO[bytes], path: Path, entry: Entry):
        self.left = entry.size
        self._file, self._path, self._entry = file, path, entry
        self._packed = (entry.start, entry.packed)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry.deflated else None
        self._checksum = 0

    def read(self, length: int = -1) -> bytes:
        """The next bytes, fewer where the entry ends; all that are left by default."""
        data = bytearray(self.left if length < 0 else min(length, self.left))
        self.fill(memoryview(data))
        return bytes(data)

    def fill(self, buffer: memoryview) -> None:
        """Fill a buffer of bytes.

        Raises:
            CheckpointError: if there are too few, or they are damaged.
        """
        filled = 0
        while filled < len(buffer):
            wanted = min(len(buffer) - filled, _CHUNK)
            data = self._next(wanted)
            if not data or len(data) > self.left:
                raise self._damaged("ends too early")
            buffer[filled : filled + len(data)] = data
            filled += len(data)
            self.left -= len(data)
            self._checksum = zlib.crc32(data, self._checksum)

    def finish(self) -> None:
        """Check that no byte is left over, and the checksum.

        Raises:
            CheckpointError: if these are not the bytes that were written.
        """
        more = self.left > 0 or self._next(1) or self._packed[1] > 0
        ended = self._inflate is None or (
            self._inflate.eof and not self._inflate.unused_data
        )
        if more or not ended:
            raise self._damaged("has bytes after its end")
        if self._checksum != self._entry.checksum:
            raise self._damaged("is damaged: the checksum differs")

    def _next(self, most: int) -> bytes:
        """Up to `most` bytes; none at the end."""
        inflate = self._inflate
        if inflate is None:
            return self._raw(most)
        while not inflate.eof:
            packed = inflate.unconsumed_tail or self._raw(_CHUNK)
            try:
                data = inflate.decompress(packed, most)
            except zlib.error as error:
                raise self._damaged(f"is damaged ({error})") from None
            if data or not packed:
                return data
        return b""

    def _raw(self, most: int) -> bytes:
        start, left = self._packed
        self._file.seek(start)
        data = self._file.read(min(most, left))
        self._packed = (start + len(data), left - len(data))
        return data

    def _damaged(self, problem: str) -> CheckpointError:
        return CheckpointError(self._path, problem, self._entry.name)
