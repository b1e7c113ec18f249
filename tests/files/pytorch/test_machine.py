"""Opcodes: what is damaged, unknown or endless is refused at its byte."""

from __future__ import annotations

from pathlib import Path
import re
import struct
from typing import Any

import lucid
import pytest

from tests.files import refused
from tests.files.pytorch import checkpoint
from tests.files.pytorch.assemble import (
    START,
    STOP,
    call,
    legacy,
    name,
    pickled,
    value,
    zipped,
)


def load(path: Path, pickle: bytes) -> Any:
    path.write_bytes(zipped(pickle))
    return lucid.load(path)


VALUES = {
    "None": (b"N", None),
    "true": (b"\x88", True),
    "one byte": (b"K\xff", 255),
    "two bytes": (b"M\xff\xff", 65535),
    "four bytes": (b"J\xff\xff\xff\xff", -1),
    "many bytes": (b"\x8a\x09" + bytes(8) + b"\x01", 2**64),
    "no bytes": (b"\x8a\x00", 0),
    "float": (b"G" + struct.pack(">d", 0.1), 0.1),
    "text": (b"X\x02\x00\x00\x00\xc3\xa9", "é"),
    "short text": (b"\x8c\x02\xc3\xa9", "é"),
    "long text": (b"\x8d\x02" + bytes(7) + b"\xc3\xa9", "é"),
    "text of Python 2": (b"U\x01aT\x01\x00\x00\x00b\x86", ("a", "b")),
    "short bytes": (b"C\x01\xff", b"\xff"),
    "bytes": (b"B\x01\x00\x00\x00\xff", b"\xff"),
    "long bytes": (b"\x8e\x01" + bytes(7) + b"\xff", b"\xff"),
    "bytearray": (b"\x96\x01" + bytes(7) + b"\xff", bytearray(b"\xff")),
    "tuples": (b")\x85N\x86NN\x87", ((((),), None), None, None)),
    "tuple to a mark": (b"(NNt", (None, None)),
    "list": (b"](NNeNa", [None, None, None]),
    "dict": (b"}(K\x01NK\x02NuK\x03Ns", {1: None, 2: None, 3: None}),
    "set": (b"\x8f(K\x01K\x01\x90", {1}),
    "frozenset": (b"(K\x01\x91", frozenset({1})),
    "memo": (b"(Nq\x07r\x00\x01\x00\x00h\x07j\x00\x01\x00\x00t", (None, None, None)),
    "memo by order": (b"(N\x94\x88\x94h\x01t", (None, True, True)),
    "frame": (b"\x95\x02" + bytes(7) + b"N", None),
    "keys": (
        b"}(NNG" + bytes(8) + b"N\x88NC\x01aN)Nu",
        {None: None, 0.0: None, True: None, b"a": None, (): None},
    ),
}


@pytest.mark.parametrize("kind", VALUES)
def test_each_opcode_makes_its_value(kind: str, tmp_path: Path):
    opcodes, want = VALUES[kind]
    got = load(tmp_path / "a", START + opcodes + STOP)
    assert got == want
    assert type(got) is type(want)


COMPLEX = call(name("__builtin__", "complex"), 1.0, 2.0)
BAD = {
    "no protocol": b"N.",
    "protocol 0": b"\x80\x00N.",
    "protocol 6": b"\x80\x06N.",
    "nothing": b"",
    "no stop": START + b"N",
    "no value": START + STOP,
    "two values": START + b"NN.",
    "an open mark": START + b"(N.",
    "protocol twice": START + START + b"N.",
    "unknown opcode": START + b"\xff.",
    **{
        f"opcode {opcode!r}": START + opcode + b"N."
        for opcode in (b"0", b"1", b"2", b"i", b"o", b"P", b"\x82", b"\x83", b"\x97")
    },
    "text opcodes": START + b"I1\n.",
    "a mark that is not there": START + b"t.",
    "tuple of too few": START + b"N\x86.",
    "list that is not there": START + b"a.",
    "append to a tuple": START + b")Na.",
    "item of a list": START + b"]NNs.",
    "item to a set": START + b"}(N\x90.",
    "key without a value": START + b"}(Nu.",
    "memo that is not there": START + b"h\x00.",
    "memo of nothing": START + b"q\x00.",
    "text beyond the end": START + b"X\xff\xff\xff\xffab.",
    "text of 2**63 bytes": START + b"\x8d" + b"\xff" * 8 + b".",
    "bytes of 2**63 bytes": START + b"\x8e" + b"\xff" * 8 + b".",
    "number in the middle": START + b"J\x00",
    "number of 255 bytes in the middle": START + b"\x8a\xff\x00",
    "text not UTF-8": START + b"X\x01\x00\x00\x00\xff.",
    "name without an end": START + b"c" + b"a" * 5000,
    "name of numbers": START + b"K\x01K\x02\x93.",
    "long name": START + value("a" * 5000) + value("b") + b"\x93.",
    "call without a tuple": START + b"NNR.",
    "call of nothing": START + b")R.",
    "build of nothing": START + b"Nb.",
    "list as a key": START + b"}]Ns.",
    "dict in a set": START + b"\x8f(}\x90.",
    "tuple of tuples as a key": START + b"})\x85Ns.",
    "long tuple as a key": START + b"}(" + b"N" * 101 + b"tNs.",
    "large number as a key": START + b"}" + value(2**64) + b"Ns.",
    "complex as a key": START + b"}" + COMPLEX + b"Ns.",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_damaged_pickle_is_refused_at_its_byte(kind: str, tmp_path: Path):
    for unknown in ("error", "skip"):
        (tmp_path / "a").write_bytes(zipped(BAD[kind]))
        with pytest.raises(lucid.CheckpointError) as error:
            lucid.load(tmp_path / "a", unknown=unknown)
        assert re.search(r"entry 'a/data\.pkl', byte \d+.*: ", str(error.value))


def test_every_truncation_is_refused(tmp_path: Path):
    pickle = pickled({"a": [1.5, None, ("x", b"C\x01a")], "b": {"c": 2**40}})
    for size in range(len(pickle)):
        refused(tmp_path / "a", zipped(pickle[:size]), "entry 'a/data.pkl'")


def test_keys_that_hash_alike_do_not_take_forever(tmp_path: Path):
    same = (value(i * (2**61 - 1)) + b"N" for i in range(2, 10_000))
    refused(tmp_path / "a", zipped(START + b"}(" + b"".join(same) + b"u."), "as a key")
    pairs = (b"(K\x01" + value(i) + b"tN" for i in range(10_001))
    refused(tmp_path / "a", zipped(START + b"}(" + b"".join(pairs) + b"u."), "as a key")


@pytest.mark.slow
def test_opcodes_without_end_are_refused(tmp_path: Path):
    data = zipped(START + b"]" + b"N\x94\x94" * 700_000 + STOP)
    refused(tmp_path / "a", data, "more than 2000000 opcodes")


def test_any_checkpoint_read_twice_is_the_same(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(checkpoint("nested_legacy.pth"))
    first, second = lucid.load(path), lucid.load(path)
    assert repr(first) == repr(second)


def test_a_legacy_file_names_the_byte_in_the_file(tmp_path: Path):
    data = legacy(START + b"\xff.")
    place = data.index(b"\xff.")
    refused(tmp_path / "a", data, f"byte {place}: opcode")
