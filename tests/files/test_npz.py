"""Damaged and hostile .npz files: one CheckpointError, naming file and entry."""

from __future__ import annotations

import io
import os
from pathlib import Path
import struct
import zipfile

import lucid
import numpy as np
import pytest

from tests.files import STATE, assert_equal, flips, refused


def npy(header: str, data: bytes = bytes(8), version: bytes = b"\x01\x00") -> bytes:
    size = struct.pack("<H" if version[0] == 1 else "<I", len(header))
    return b"\x93NUMPY" + version + size + header.encode("latin1") + data


def described(
    shape: str = "(2,)", descr: str = "'<f4'", data: bytes = bytes(8)
) -> bytes:
    return npy(
        f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n", data
    )


def zipped(*entries: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


class Bomb:
    """Unpickled, this would create a file in the working folder."""

    def __reduce__(self):
        return open, ("unpickled", "w")


# What is wrong with the one entry, called a.npy.
BAD_NPY = {
    "pickle": saved(np.array([Bomb()], object)),
    "raw pickle": b"\x80\x04.",
    "structured": saved(np.zeros(2, [("a", "<f4"), ("b", "<i4")])),
    "structured like bfloat16": saved(np.zeros(2, [("a", "u1"), ("b", "u1")])),
    "dates": saved(np.zeros(2, "M8[s]")),
    "strings": saved(np.array(["ab"])),
    "complex128": saved(np.zeros(2, complex)),
    "opaque": saved(np.zeros(2, "V3")),
    "empty": b"",
    "not npy": b"hello",
    "version 4": npy("{}", version=b"\x04\x00"),
    "header length beyond the file": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
    "header of 20 kB": described("(2,)" + " " * 20_000),
    "header nested deep": described("(" + "[" * 150 + "]" * 150 + ",)"),
    "header of minuses": described("(" + "-" * 9000 + "2,)"),
    "no dtype": described(descr="None"),
    "subarrays": described("(1,)", "('<f4', (2,))"),
    "one byte short": described(data=bytes(7)),
    "one byte more": described(data=bytes(9)),
    **{
        f"shape {shape}": described(shape)
        for shape in (
            *(
                "(-2,)",
                "(-1,)",
                "(-1, -2)",
                "(2.0,)",
                "2",
                "[2]",
                "('2',)",
                "(True, 2)",
            ),
            *("(1000000000000000000,)", "(2147483648, 2147483648, 2)", "(800000000,)"),
            *("(4294967296, 4294967296)", f"({2**70},)", "(" + "1," * 64 + "2)"),
            *("(4294967296, 4294967296, 0)", "(0, 2147483648)", f"({'1' * 5000},)"),
        )
    },
}
GOOD = ("a.npy", described())
BAD_ZIP = {
    "empty": b"",
    "garbage": b"garbage" * 100,
    "a bare npy": described(),
    "a pickle": b"\x80\x04.",
    "magic alone": b"PK\x03\x04",
    "duplicate": zipped(GOOD, ("b.npy", described())).replace(b"b.npy", b"a.npy"),
    "not npy": zipped(GOOD, ("b.txt", b"text")),
    "a folder": zipped(GOOD, ("b/", b"")),
}


@pytest.mark.parametrize("problem", BAD_NPY)
def test_a_bad_array_is_refused_by_file_and_entry(
    problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    data = zipped(("good.npy", described()), ("a.npy", BAD_NPY[problem]))
    refused(tmp_path / "bad.npz", data, "entry 'a.npy'")
    assert os.listdir(tmp_path) == ["bad.npz"]


@pytest.mark.parametrize("problem", BAD_ZIP)
def test_a_bad_archive_is_refused_by_file(problem: str, tmp_path: Path):
    refused(tmp_path / "bad.npz", BAD_ZIP[problem])


def test_a_changed_byte_of_an_npz_is_refused_or_harmless(tmp_path: Path):
    path = tmp_path / "a.npz"
    lucid.save(STATE, path)
    lost: list[bytes] = []
    for data in flips(path.read_bytes()):
        path.write_bytes(data)
        try:
            assert_equal(lucid.load(path), STATE)
        except lucid.CheckpointError:
            continue
        except AssertionError:
            lost.append(data)
    assert lost == []
