"""Zip archives, read strictly: every byte of the file belongs to one entry.

Python's `zipfile` believes an end record that lost its counts, entries that lie on each
other, and packed entries that give gigabytes where they declare a kilobyte.
"""

from __future__ import annotations

import os
from pathlib import Path
import struct
from typing import IO, NamedTuple

from lucid.files.entry import Entry, EntryReader
from lucid.files.error import CheckpointError

_END, _END_FIELDS = b"PK\x05\x06", struct.Struct("<4sHHHHIIH")
_END64, _END64_FIELDS = b"PK\x06\x06", struct.Struct("<4sQ4xIIQQQQ")
_LOCATOR, _LOCATOR_FIELDS = b"PK\x06\x07", struct.Struct("<4s4xQ4x")
_CENTRAL, _CENTRAL_FIELDS = b"PK\x01\x02", struct.Struct("<4s4xHH4xIIIHHH8xI")
_LOCAL, _LOCAL_FIELDS = b"PK\x03\x04", struct.Struct("<4s2xHH4x12xHH")
_FULL16, _FULL32 = 2**16 - 1, 2**32 - 1  # "see the long record"
_ENCRYPTED, _DESCRIBED_AFTER, _UTF8 = 1, 8, 2048  # flags of an entry
_DESCRIPTORS = (0, 12, 16, 20, 24)  # bytes of what may stand after an entry
_STORED, _DEFLATED = 0, 8
_METHODS = {9: "deflate64", 12: "bz2", 14: "lzma", 93: "zstd", 95: "xz"}
_DEFLATE_RATIO = 1032  # no byte of deflate's makes more
_LONG_SIZES = 1  # the extra field of large entries
_MOST_ENTRIES = 1_000_000


class _Header(NamedTuple):
    """What the directory says of an entry, as it stands there."""

    flags: int
    method: int
    checksum: int
    packed: int
    size: int
    named: int
    extra: int
    comment: int
    start: int


class _Place(NamedTuple):
    """The bytes of an entry with its header; whether a descriptor follows them."""

    start: int
    stop: int
    described: bool


class Archive:
    """The entries of a zip archive by name, in the order of its directory.

    Raises:
        CheckpointError: if it is damaged, or has an entry that no checkpoint has.
    """

    def __init__(self, file: IO[bytes], path: Path):
        self.file, self.path = file, path
        self.size = file.seek(0, os.SEEK_END)
        self.entries: dict[str, Entry] = {}
        start, length, count = self._find_directory()
        self._read_directory(start, length, count)

    def refuse(self, problem: str, entry: str | None = None) -> CheckpointError:
        return CheckpointError(self.path, problem, entry)

    def open(self, entry: Entry) -> EntryReader:
        """A stream of an entry's bytes, which checks them at its end."""
        return EntryReader(self.file, self.path, entry)

    def read(self, entry: Entry, most: int) -> bytes:
        """All bytes of an entry that should be small.

        Raises:
            CheckpointError: if there are more than `most`, or they are damaged.
        """
        if entry.size > most:
            raise self.refuse(f"is too long ({entry.size} bytes)", entry.name)
        stream = self.open(entry)
        data = stream.read(entry.size)
        stream.finish()
        return data

    def _find_directory(self) -> tuple[int, int, int]:
        """Start, length and number of entries of the directory."""
        longest = _END_FIELDS.size + _FULL16
        tail = self.read_at(max(self.size - longest, 0), longest)
        at = tail.rfind(_END)
        if at < 0 or len(tail) < at + _END_FIELDS.size:
            raise self.refuse("has lost the end of its archive, or is no archive")
        _, disk, first_disk, here, count, length, start, comment = (
            _END_FIELDS.unpack_from(tail, at)
        )
        end = self.size - len(tail) + at
        sound = end + _END_FIELDS.size + comment == self.size
        sound = sound and disk == first_disk == 0 and here == count
        long = self._read_long_end(end)
        if long is not None:
            end = long[3]
            sound = sound and (
                count in (long[2], _FULL16)
                and length in (long[1], _FULL32)
                and start in (long[0], _FULL32)
            )
            start, length, count = long[:3]
        if not sound or start + length != end or count > _MOST_ENTRIES:
            raise self.refuse("has a damaged end record, or has lost entries")
        return start, length, count

    def _read_long_end(self, end: int) -> tuple[int, int, int, int] | None:
        """The end record of large archives, and where it is; None without one."""
        at = end - _LOCATOR_FIELDS.size
        locator = self.read_at(at, _LOCATOR_FIELDS.size) if at >= 0 else b""
        if not locator.startswith(_LOCATOR):
            return None
        place = _LOCATOR_FIELDS.unpack(locator)[1]
        if place > at - _END64_FIELDS.size:
            raise self.refuse("has a damaged end record")
        magic, size, disk, first_disk, here, count, length, start = (
            _END64_FIELDS.unpack(self.read_at(place, _END64_FIELDS.size))
        )
        sound = magic == _END64 and place + 12 + size == at and here == count
        if not sound or disk or first_disk:
            raise self.refuse("has a damaged end record")
        return start, length, count, place

    def _read_directory(self, start: int, length: int, count: int) -> None:
        """Fill `entries`, which must cover the file up to the directory."""
        directory, at = self.read_at(start, length), 0
        places: list[_Place] = []
        for _ in range(count):
            fields = directory[at : at + _CENTRAL_FIELDS.size]
            if len(fields) < _CENTRAL_FIELDS.size or not fields.startswith(_CENTRAL):
                raise self.refuse("has a damaged directory, or has lost entries")
            header = _Header(*_CENTRAL_FIELDS.unpack(fields)[1:])
            at += _CENTRAL_FIELDS.size
            name = directory[at : at + header.named]
            extra_at = at + header.named
            extra = directory[extra_at : extra_at + header.extra]
            places.append(self._add(header, name, extra))
            at += header.named + header.extra + header.comment
        if at != length:
            raise self.refuse("has a damaged directory, or has lost entries")
        places.sort(key=lambda place: place.start)
        end, gaps = 0, (0,)
        for place in [*places, _Place(start, start, False)]:
            if place.start - end not in gaps:
                raise self.refuse("has lost entries, or has some that overlap")
            end, gaps = place.stop, _DESCRIPTORS if place.described else (0,)

    def _add(self, header: _Header, raw_name: bytes, extra: bytes) -> _Place:
        """Check an entry of the directory against its own header, and keep it."""
        try:
            name = raw_name.decode("utf-8" if header.flags & _UTF8 else "cp437")
        except UnicodeDecodeError:
            raise self.refuse(f"has a name that is not UTF-8: {raw_name!r}") from None
        size, packed, start = self._long_sizes(header, name, extra)
        local = self.read_at(start, _LOCAL_FIELDS.size + len(raw_name))
        if len(local) < _LOCAL_FIELDS.size + len(raw_name):
            raise self.refuse("has lost its bytes", name)
        magic, flags, method, named, more = _LOCAL_FIELDS.unpack_from(local)
        same = (flags, method, named) == (header.flags, header.method, len(raw_name))
        if magic != _LOCAL or not same or local[_LOCAL_FIELDS.size :] != raw_name:
            raise self.refuse("has a damaged header", name)
        if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
            how = "encrypted" if flags & _ENCRYPTED else _METHODS.get(method, "damaged")
            raise self.refuse(f"is {how}, neither stored nor deflated", name)
        deflated = method == _DEFLATED
        if size > packed * _DEFLATE_RATIO if deflated else size != packed:
            raise self.refuse(f"claims {size} bytes, but has {packed}", name)
        if name in self.entries:
            raise self.refuse("is there twice", name)
        data = start + len(local) + more
        entry = Entry(name, data, packed, size, header.checksum, deflated)
        self.entries[name] = entry
        return _Place(start, data + packed, bool(flags & _DESCRIBED_AFTER))

    def _long_sizes(self, header: _Header, name: str, extra: bytes) -> list[int]:
        """Size, packed size and start, which large entries have in an extra field."""
        sizes, long = [header.size, header.packed, header.start], b""
        while len(extra) >= 4:
            kind, length = struct.unpack_from("<HH", extra)
            if kind == _LONG_SIZES:
                long = extra[4 : 4 + length]
            extra = extra[4 + length :]
        for i, size in enumerate(sizes):
            if size == _FULL32:
                if len(long) < 8:
                    raise self.refuse("has a damaged header", name)
                sizes[i], long = int.from_bytes(long[:8], "little"), long[8:]
        return sizes

    def read_at(self, start: int, length: int) -> bytes:
        """Bytes of the file, fewer at its end."""
        if start >= self.size:  # possibly more than a file position can be
            return b""
        self.file.seek(start)
        return self.file.read(length)
