"""Containers that hold themselves, each other, or too much."""

from __future__ import annotations

from pathlib import Path

import lucid
import pytest

from tests.files import refused
from tests.files.pytorch.assemble import (
    ORDERED,
    build,
    call,
    name,
    pickled,
    storage,
    tensor,
    value,
    zipped,
)


@pytest.mark.parametrize(
    "opcodes",
    {
        "list": b"]q\x00h\x00a",
        "dict": b"}q\x00X\x01\x00\x00\x00ah\x00s",
        "through others": b"]q\x00](h\x00}X\x01\x00\x00\x00ah\x00sea",
        "in a tuple": b"]q\x00h\x00\x85a",
    }.values(),
)
def test_a_container_that_contains_itself_is_refused(opcodes: bytes, tmp_path: Path):
    refused(tmp_path / "a", zipped(pickled(opcodes)), "contains itself")


@pytest.mark.parametrize(
    "deep",
    {
        "tuples": b")" + b"\x85" * 10**5,
        "lists": b"]" * 10**5 + b"a" * (10**5 - 1),
        "marks": b"(" * 10**5 + b"t" * 10**5,
        "shared": b"]q\x00" + b"".join(b"](h\x00eq\x00" for _ in range(200)),
    }.items(),
    ids=lambda item: item[0],
)
def test_what_is_nested_too_deep_is_refused(deep: tuple[str, bytes], tmp_path: Path):
    opcodes = deep[1] if deep[0] != "shared" else b"(" + deep[1] + b"t"
    refused(tmp_path / "a", zipped(pickled(opcodes)), "in more than 100 containers")


def laughs(levels: int) -> bytes:
    """Lists of ten times the list before."""
    opcodes = b"(" + value(["ha"]) + b"q\x00"
    for _ in range(levels):
        opcodes += b"](" + b"h\x00" * 10 + b"eq\x00"
    return opcodes + b"t"


def test_shared_containers_stay_shared(tmp_path: Path):
    (tmp_path / "a").write_bytes(zipped(pickled(laughs(3))))
    loaded = lucid.load(tmp_path / "a")
    assert loaded[2][9] is loaded[1]
    assert loaded[1][0] is loaded[0]


def test_a_billion_laughs_are_refused(tmp_path: Path):
    refused(tmp_path / "a", zipped(pickled(laughs(9))), "unfolds to more than")


@pytest.mark.parametrize(
    ("opcodes", "what"),
    [
        (name("torch._utils", "_rebuild_tensor_v2"), "_rebuild_tensor_v2"),
        (name("torch", "FloatStorage"), "FloatStorage"),
        (name("collections", "OrderedDict"), "OrderedDict"),
        (name("__builtin__", "set"), "builtins.set"),
        (storage(), "Storage"),
        (
            call(
                name("numpy.core.multiarray", "_reconstruct"),
                *(name("numpy", "ndarray"), (0,), "b"),
            ),
            "NumPy array without content",
        ),
    ],
)
def test_a_known_name_where_a_value_belongs_is_refused_by_its_place(
    opcodes: bytes, what: str, tmp_path: Path
):
    data = zipped(pickled({"epoch": [1, {"x": opcodes}]}))
    refused(tmp_path / "a", data, "a/data.pkl", "['epoch'][1]['x']", what)


def test_a_state_dicts_metadata_is_left_out(tmp_path: Path):
    metadata = build(ORDERED, {"_metadata": {"": {"version": 1}}})
    opcodes = metadata + value("w") + tensor() + b"s"
    (tmp_path / "a").write_bytes(zipped(pickled(opcodes)))
    loaded = lucid.load(tmp_path / "a")
    assert type(loaded) is dict
    assert list(loaded) == ["w"]


def test_a_checkpoint_need_not_be_a_dict(tmp_path: Path):
    (tmp_path / "a").write_bytes(zipped(pickled((tensor((1,), (1,)), [None, "x"]))))
    array, rest = lucid.load(tmp_path / "a")
    assert array.tolist() == [0.0]
    assert rest == [None, "x"]
