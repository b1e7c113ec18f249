"""Zip archives: bombs, lies, and entries that were lost."""

from __future__ import annotations

import bz2
import io
import lzma
from pathlib import Path
import struct
import tracemalloc
import zipfile
import zlib

import lucid
import numpy as np
import pytest

from tests.files import refused
from tests.files.zips import Packed, archive, central, deflated, local, write_sparse


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


ARRAY = saved(np.arange(3))
CHECKSUM = zlib.crc32(ARRAY)
W, V = Packed(b"w.npy", ARRAY), Packed(b"v.npy", ARRAY)
SHORT_BZ2 = bz2.compress(bytes(2**27))
SHORT_LZMA = lzma.compress(bytes(2**27), lzma.FORMAT_ALONE)
SHORT_DEFLATE = deflated(ARRAY + bytes(2**27))
END = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0, 0, 0, 0, 0)


def with_descriptor(size: int) -> bytes:
    described = Packed(b"w.npy", ARRAY, flags=8, descriptor=bytes(size))
    return archive(described, V)


def packed(data: bytes, **said: int) -> bytes:
    """An archive of one deflated entry."""
    defaults = {"size": len(ARRAY), "checksum": CHECKSUM, "method": 8}
    return archive(Packed(b"w.npy", data, **(defaults | said)))


def with_a_far_start(start: int) -> bytes:
    """An entry whose header is where no file position can be."""
    extra = struct.pack("<HHQ", 1, 8, start)
    directory = central(W, 2**32 - 1).replace(
        struct.pack("<HHHHHII", 5, 0, 0, 0, 0, 0, 2**32 - 1),
        struct.pack("<HHHHHII", 5, len(extra), 0, 0, 0, 0, 2**32 - 1),
    )
    directory, body = directory + extra, local(W) + ARRAY
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(body), 0)
    return body + directory + end


def one_entry_twice() -> bytes:
    """Two entries whose bytes are the same, as in bombs that nest without nesting."""
    body = local(W) + ARRAY
    directory = central(W, 0) + central(W, 0).replace(b"w.npy", b"v.npy")
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 2, 2, len(directory), len(body), 0)
    return body + directory + end


SOUND = {
    "stored": archive(W),
    "deflated": packed(deflated(ARRAY)),
    "a comment": archive(W, comment=b"made by hand"),
    **{
        f"a descriptor of {size}": with_descriptor(size) for size in (0, 12, 16, 20, 24)
    },
}
LYING = {
    "bz2 bomb": packed(SHORT_BZ2, method=12),
    "lzma bomb": packed(SHORT_LZMA, method=14),
    "deflate longer than declared": packed(SHORT_DEFLATE),
    "deflate shorter than declared": packed(deflated(ARRAY[:-1])),
    "deflate claims 4 GiB": packed(deflated(ARRAY), size=2**32 - 2),
    "deflate damaged": packed(b"\x07" + deflated(ARRAY)),
    "deflate cut": packed(deflated(ARRAY)[:-3]),
    "deflate and more": packed(deflated(ARRAY) + b"more"),
    "stored, another size": archive(Packed(b"w.npy", ARRAY, size=100)),
    "unknown method": packed(ARRAY, method=99),
    "encrypted": archive(Packed(b"w.npy", ARRAY, flags=1)),
    "wrong checksum": archive(Packed(b"w.npy", ARRAY, checksum=1)),
    "name not UTF-8": archive(Packed(b"\xff.npy", ARRAY, flags=2048)),
    "overlapping": one_entry_twice(),
    "a far start": with_a_far_start(2**63),
    "the farthest start": with_a_far_start(2**64 - 1),
    "a hole": with_descriptor(13),
    "counts and sizes zero": archive(W)[:-14] + bytes(8) + archive(W)[-6:],
    "another end record": archive(W) + END,
    "bytes before": b"bytes" + archive(W),
    "bytes after": archive(W) + b"bytes",
    "end record alone, after bytes": b"PK\3\4" + bytes(100) + END,
    "half an end record": archive(W)[:-10],
}


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_archive_is_read(kind: str, tmp_path: Path):
    (tmp_path / "a.npz").write_bytes(SOUND[kind])
    assert lucid.load(tmp_path / "a.npz")["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", LYING)
def test_a_lying_archive_is_refused_in_little_memory(kind: str, tmp_path: Path):
    tracemalloc.start()
    try:
        refused(tmp_path / "bad.npz", LYING[kind])
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("number", [12, 14])
def test_the_message_names_the_compression(number: int, tmp_path: Path):
    data = packed(SHORT_BZ2, method=number)
    method = {12: "bz2", 14: "lzma"}[number]
    refused(tmp_path / "bad.npz", data, "w.npy", f"{method}, neither stored nor")


def test_an_archive_of_nothing_is_an_empty_dict(tmp_path: Path):
    lucid.save({}, tmp_path / "a.npz")
    assert lucid.load(tmp_path / "a.npz") == {}


def test_a_claim_beyond_memory_is_refused_at_once(tmp_path: Path):
    write_sparse(tmp_path / "bomb.npz", b"w.npy", 2**42)
    with pytest.raises(
        lucid.CheckpointError, match=r"larger than memory \(4096\.0 GiB"
    ):
        lucid.load(tmp_path / "bomb.npz")


def test_the_records_of_large_archives_are_read(tmp_path: Path):
    write_sparse(tmp_path / "a.npz", b"w.npy", len(ARRAY))
    data = (tmp_path / "a.npz").read_bytes().replace(bytes(len(ARRAY)), ARRAY)
    (tmp_path / "a.npz").write_bytes(
        data.replace(bytes(4) + b"\xff" * 8, struct.pack("<I", CHECKSUM) + b"\xff" * 8)
    )
    assert lucid.load(tmp_path / "a.npz")["w"].tolist() == [0, 1, 2]


@pytest.mark.slow
def test_more_entries_than_16_bits_count_are_read(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        for i in range(70_000):
            file.writestr(f"{i}.npy", ARRAY)
    assert len(lucid.load(tmp_path / "a.npz")) == 70_000
