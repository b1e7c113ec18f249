"""Damaged and hostile .safetensors: one CheckpointError, naming file and entry."""

from __future__ import annotations

import json
from pathlib import Path
import struct
from typing import Any

import lucid
import mlx.core as mx
import pytest

from tests.files import STATE, flips, refused


def tensors(header: Any, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


RAW = json.dumps(entry()).encode()
BAD_ENTRY = {
    f"{key} {value!r:.30}": entry(**{key: value})
    for key, options in {
        "dtype": ["F64", "F8_E4M3", "I32 ", "f32", None, ["F32"], 32, "F16"],
        "shape": [[3], [-2], [2.0], [True, 2], ["2"], 2, None, [2**70], [2**31, 0], []],
        "data_offsets": [
            [0, 4],
            [4, 12],
            [8, 0],
            [-8, 0],
            [0],
            [0, 8, 8],
            None,
            [0, 8.0],
        ],
    }.items()
    for value in options
} | {
    "65 axes": entry(shape=[1] * 64 + [2]),
    "not a dict": 5,
    "a list": [1],
    "nothing": {},
}
BAD_SAFETENSORS = {
    "empty": b"",
    "seven bytes": bytes(7),
    "no header": bytes(8),
    "header beyond the file": struct.pack("<Q", 100) + b"{}",
    "header of 2**63": struct.pack("<Q", 2**63) + b"{}",
    "garbage": b"garbage" * 100,
    "not JSON": tensors(b"{hello"),
    "not UTF-8": tensors(b'{"\xff": ' + RAW + b"}"),
    "UTF-16": tensors(json.dumps({"a": entry()}).encode("utf-16")),
    "a lone surrogate": tensors({"\ud800": entry()}),
    "NaN": tensors(b'{"__metadata__": {"x": NaN}, "a": ' + RAW + b"}"),
    "a list": tensors([]),
    "a number": tensors(5),
    "deep": tensors(b'{"__metadata__": ' + b"[" * 900 + b"]" * 900 + b"}"),
    "very deep": tensors(b'{"a": ' + b"[" * 10**5 + b"]" * 10**5 + b"}"),
    "long number": tensors(b'{"a": {"shape": [' + b"1" * 5000 + b"]}}"),
    "metadata of numbers": tensors({"__metadata__": {"x": 1}, "a": entry()}),
    "metadata alone": tensors({"__metadata__": 5, "a": entry()}),
    "a name twice": tensors(b'{"a": ' + RAW + b', "a": ' + RAW + b"}"),
    "overlapping": tensors({"a": entry(), "b": entry()}),
    "bytes of no entry": tensors({"a": entry()}, bytes(16)),
}


def test_float64_is_read_as_float64(tmp_path: Path):
    data = tensors({"w": entry(dtype="F64", shape=[1])}, struct.pack("<d", 0.1))
    (tmp_path / "a.safetensors").write_bytes(data)
    loaded = lucid.load(tmp_path / "a.safetensors")
    assert loaded["w"].dtype == mx.float64
    assert loaded["w"].item() == 0.1


def test_eight_bit_floats_are_called_what_they_are(tmp_path: Path):
    data = tensors({"w": entry(dtype="F8_E4M3", shape=[8])})
    refused(
        tmp_path / "a.safetensors",
        data,
        "entry 'w'",
        "F8_E4M3, which MLX does not have",
    )


def test_a_bool_of_two_is_true(tmp_path: Path):
    data = tensors({"w": entry(dtype="BOOL", shape=[8])}, bytes(range(8)))
    (tmp_path / "a.safetensors").write_bytes(data)
    loaded = lucid.load(tmp_path / "a.safetensors")["w"]
    assert loaded.view(mx.uint8).tolist() == [0, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("length", [100_000_001, 2**35])
def test_a_header_longer_than_the_format_allows_is_not_read(
    length: int, tmp_path: Path
):
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", length) + b"{")
        file.truncate(8 + length)
    with pytest.raises(lucid.CheckpointError, match=f"header has {length} bytes"):
        lucid.load(tmp_path / "a.safetensors")


def test_a_claim_beyond_memory_is_refused_at_once(tmp_path: Path):
    described = entry(dtype="U8", shape=[2**21, 2**21], data_offsets=[0, 2**42])
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.write(tensors({"w": described}, b""))
        file.truncate(file.tell() + 2**42)
    with pytest.raises(lucid.CheckpointError, match=r"larger than memory \(4096"):
        lucid.load(tmp_path / "a.safetensors")


def test_arrays_keep_the_states_order_and_are_aligned(tmp_path: Path):
    state = {"b": mx.ones(3, mx.int8), "a": mx.ones(2), "c": mx.ones(1, mx.int64)}
    lucid.save(state, tmp_path / "a.safetensors")
    assert list(lucid.load(tmp_path / "a.safetensors")) == ["b", "a", "c"]
    data = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    for name, described in json.loads(data[8 : 8 + length]).items():
        assert described["data_offsets"][0] % state[name].itemsize == 0


@pytest.mark.parametrize("problem", BAD_ENTRY)
def test_a_bad_safetensors_entry_is_refused_by_file_and_entry(
    problem: str, tmp_path: Path
):
    data = tensors({"good": entry(), "layer.bad": BAD_ENTRY[problem]})
    refused(tmp_path / "bad.safetensors", data, "entry 'layer.bad'")


@pytest.mark.parametrize("problem", BAD_SAFETENSORS)
def test_a_bad_safetensors_file_is_refused_by_file(problem: str, tmp_path: Path):
    refused(tmp_path / "bad.safetensors", BAD_SAFETENSORS[problem])


def test_a_changed_byte_of_a_safetensors_loses_no_entry_and_no_byte(tmp_path: Path):
    # The format has no checksum, so names, dtypes and numbers can change unnoticed.
    path = tmp_path / "a.safetensors"
    lucid.save(STATE, path)
    sizes = sorted(array.nbytes for array in STATE.values())
    for data in flips(path.read_bytes()):
        path.write_bytes(data)
        try:
            loaded = lucid.load(path)
        except lucid.CheckpointError:
            continue
        assert sorted(array.nbytes for array in loaded.values()) == sizes
