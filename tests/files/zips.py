"""Zip archives put together by hand, so that any field can lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import struct
import zlib


@dataclass
class Packed:
    """An entry: its bytes as they stand in the file, and what is said of them."""

    name: bytes
    data: bytes
    method: int = 0
    size: int | None = None
    checksum: int | None = None
    flags: int = 0
    descriptor: bytes = b""

    def described(self) -> tuple[int, int, int]:
        """Checksum, packed size, size."""
        size = len(self.data) if self.size is None else self.size
        checksum = zlib.crc32(self.data) if self.checksum is None else self.checksum
        return checksum, len(self.data), size


def archive(*entries: Packed, comment: bytes = b"") -> bytes:
    body, directory = b"", b""
    for entry in entries:
        directory += central(entry, len(body))
        body += local(entry) + entry.data + entry.descriptor
    end = (0, 0, len(entries), len(entries), len(directory), len(body), len(comment))
    return body + directory + struct.pack("<4sHHHHIIH", b"PK\5\6", *end) + comment


def local(entry: Packed) -> bytes:
    fields = (20, entry.flags, entry.method, 0, 33, *entry.described())
    lengths = (len(entry.name), 0)
    return struct.pack("<4sHHHHHIIIHH", b"PK\3\4", *fields, *lengths) + entry.name


def central(entry: Packed, start: int) -> bytes:
    fields = (20, 20, entry.flags, entry.method, 0, 33, *entry.described())
    rest = (len(entry.name), 0, 0, 0, 0, 0, start)
    return struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields, *rest) + entry.name


def deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


def write_sparse(path: Path, name: bytes, size: int) -> None:
    """An archive of one stored entry that is a hole, with the records of large ones."""
    full, lengths = 2**32 - 1, (len(name), 0)
    head = struct.pack(
        "<4sHHHHHIIIHH", b"PK\3\4", *(45, 0, 0, 0, 33, 0, full, full), *lengths
    )
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    fields = (45, 45, 0, 0, 0, 33, 0, full, full, len(name), len(extra), 0, 0, 0, 0, 0)
    directory = struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields) + name + extra
    start = len(head) + len(name) + size
    end64 = (44, 45, 45, 0, 0, 1, 1, len(directory), start)
    with path.open("wb") as file:
        file.write(head + name)
        file.seek(start)
        file.write(directory + struct.pack("<4sQHHIIQQQQ", b"PK\6\6", *end64))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, start + len(directory), 1))
        file.write(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, full, full, 0))
