"""The format before PyTorch 1.6; `test_zipped.py` reads its sound files."""

from __future__ import annotations

from pathlib import Path
import struct

import lucid
import numpy as np
import pytest

from tests.files import refused
from tests.files.pytorch import assert_same, checkpoint
from tests.files.pytorch.assemble import (
    FLOATS,
    MAGIC,
    ORDERED,
    call,
    legacy,
    name,
    pickled,
    tensor,
    value,
)

SOUND = legacy(pickled({"w": tensor()}))
ZERO = pickled(["0"])


def test_a_file_put_together_by_hand_is_read(tmp_path: Path):
    (tmp_path / "a").write_bytes(SOUND)
    want = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert_same(lucid.load(tmp_path / "a")["w"], want)


def test_the_views_of_storages_of_old_are_read(tmp_path: Path):
    of = value(("storage", name("torch", "FloatStorage"), "0", "cpu", 6, ("v", 2, 3)))
    (tmp_path / "a").write_bytes(
        legacy(pickled({"w": tensor((3,), (1,), 0, of + b"Q")}))
    )
    assert lucid.load(tmp_path / "a")["w"].tolist() == [2, 3, 4]
    refused(
        tmp_path / "a",
        legacy(pickled({"w": tensor((4,), (1,), 0, of + b"Q")})),
        "needs 4 items of 3",
    )


def test_pythons_2_strings_and_ordered_dicts_are_read(tmp_path: Path):
    pair = b"](" + b"U\x01w" + tensor() + b"e"
    ordered = call(name("collections", "OrderedDict"), [pair])
    (tmp_path / "a").write_bytes(legacy(pickled(ordered)))
    assert list(lucid.load(tmp_path / "a")) == ["w"]


@pytest.mark.parametrize(
    ("data", "words"),
    {
        "the magic twice": (pickled(MAGIC) + SOUND, "old format"),
        "another version": (
            SOUND.replace(value(1001) + b".", value(1002) + b".", 1),
            "old",
        ),
        "no byte order": (SOUND.replace(b"little_endian", b"littel_endian"), "order"),
        "a storage more": (SOUND + struct.pack("<q", 1) + bytes(4), "after its end"),
        "a byte less": (SOUND[:-1], "ends in the middle"),
        "another count": (
            SOUND.replace(struct.pack("<q", 6), struct.pack("<q", 5)),
            "storage of 5 items, not 6",
        ),
        "no list of storages": (
            SOUND.replace(ZERO, pickled({"0": 0})),
            "list of storages",
        ),
        "another list": (
            SOUND.replace(pickled(["0"]), pickled(["1"])),
            "list of storages",
        ),
        "one storage twice": (
            legacy(pickled({"w": tensor()})).replace(
                pickled(["0"]), pickled(["0", "0"])
            ),
            "list of storages",
        ),
        "only the start": (SOUND[:20], "ends in the middle"),
        "no storage": (legacy(pickled(ORDERED), FLOATS), "list of storages"),
    }.values(),
)
def test_a_damaged_file_is_refused(data: bytes, words: str, tmp_path: Path):
    refused(tmp_path / "a", data, words)


def test_every_truncation_is_refused(tmp_path: Path):
    data = checkpoint("views_legacy.pth")
    for size in range(0, len(data), 3):
        refused(tmp_path / "a", data[:size])


def test_errors_name_the_byte_and_the_nearest_name(tmp_path: Path):
    data = legacy(pickled({"layer": {"w": tensor((7,), (1,))}}))
    refused(tmp_path / "a", data, ", byte ", "at 'w': ", "needs 7 items of 6")
