"""The bytes of a pickle, no further than its file goes."""

from __future__ import annotations

import struct
from typing import IO, Any

from lucid.files.pytorch.values import RefusedError

LONGEST_NAME = 1000


class Stream:
    """A file from where it stands to `end`."""

    def __init__(self, file: IO[bytes], end: int):
        self.file, self.end = file, end
        self.position = file.tell()

    def take(self, length: int) -> bytes:
        """The next bytes.

        Raises:
            RefusedError: if there are fewer.
        """
        data = b""
        if length <= self.end - self.position:
            data = self.file.read(length)
        if len(data) != length:
            raise RefusedError("ends in the middle")
        self.position += length
        return data

    def number(self, format: str) -> Any:
        return struct.unpack(format, self.take(struct.calcsize(format)))[0]

    def integer(self) -> int:
        """A whole number of any size up to 255 bytes."""
        return int.from_bytes(self.bytes("<B"), "little", signed=True)

    def bytes(self, format: str) -> bytes:
        """Bytes after their number."""
        return self.take(self.number(format))

    def text(self, format: str) -> str:
        """UTF-8 after the number of its bytes."""
        try:
            return self.bytes(format).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise RefusedError("has a string that is not UTF-8") from None

    def line(self) -> str:
        """Text up to the end of its line, as names are written."""
        line = self.file.readline(min(LONGEST_NAME, self.end - self.position))
        if not line.endswith(b"\n"):
            raise RefusedError("has a name that does not end")
        self.position += len(line)
        return line[:-1].decode("utf-8", "backslashreplace")
