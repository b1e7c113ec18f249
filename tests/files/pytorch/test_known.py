"""Names: known ones are values, others refused or kept inert; none is called."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import lucid
from lucid.files import Placeholder
import pytest

from tests.files import refused
from tests.files.pytorch import CHECKPOINTS
from tests.files.pytorch.assemble import (
    ORDERED,
    build,
    call,
    legacy,
    name,
    new,
    pickled,
    value,
    zipped,
)
from tests.files.pytorch.payloads import PAYLOADS


@pytest.mark.parametrize("file", ["unknown.ckpt", "unknown_legacy.ckpt"])
def test_an_unknown_class_is_refused_by_its_name(file: str):
    with pytest.raises(lucid.CheckpointError) as error:
        lucid.load(CHECKPOINTS / file)
    for word in (file, "byte ", "trainer.Settings", 'unknown="skip"', "state_dict()"):
        assert word in str(error.value)


@pytest.mark.parametrize("file", ["unknown.ckpt", "unknown_legacy.ckpt"])
def test_skipped_classes_leave_placeholders_with_what_they_held(file: str):
    loaded = lucid.load(CHECKPOINTS / file, unknown="skip")
    assert loaded["state_dict"]["w"].tolist() == [1, 1, 1]
    settings = loaded["hyper_parameters"]
    assert isinstance(settings, Placeholder)
    assert repr(settings) == "<placeholder for trainer.Settings>"
    items = dict(settings.items)
    assert items["lr"] == 0.5
    assert items["weights"].tolist() == [1, 1]
    (callback,) = loaded["callbacks"]
    assert (callback.name, callback.state) == ("trainer.Callback", {"patience": 5})
    assert (loaded["kind"].name, loaded["kind"].arguments) == ("trainer.Callback", None)


def test_a_whole_model_is_a_placeholder_with_its_parameters():
    model = lucid.load(CHECKPOINTS / "whole_model.pt", unknown="skip")
    assert model.name == "torch.nn.modules.linear.Linear"
    assert model.state["_parameters"]["weight"].shape == (1, 2)


@pytest.mark.parametrize(
    ("unknown", "kind"),
    [("ignore", ValueError), ("", ValueError), (None, TypeError), (True, TypeError)],
)
def test_another_way_for_unknown_classes_is_refused(unknown: Any, kind: Any):
    with pytest.raises(kind, match=r"`unknown` \(="):
        lucid.load(CHECKPOINTS / "unknown.ckpt", unknown=unknown)


def test_pythons_own_containers_are_plain(tmp_path: Path):
    def builtin(kind: str, *arguments: Any) -> bytes:
        return call(name("__builtin__", kind), *arguments)

    encoded = call(name("_codecs", "encode"), "aé", "latin1")
    counted = call(name("collections", "Counter"), {"a": 2})
    of_lists = call(name("collections", "defaultdict"), name("__builtin__", "list"))
    opcodes = {
        "set": builtin("set", [1, 2]),
        "frozenset": builtin("frozenset", ["a"]),
        "complex": builtin("complex", 1.0, -2.0),
        "bytes": encoded,
        "empty bytes": builtin("bytes"),
        "bytearray": builtin("bytearray", encoded),
        "Counter": counted,
        "defaultdict": of_lists + value("k") + value([1]) + b"s",
        "device": call(name("torch", "device"), "cuda", 1),
        "Size": call(name("torch", "Size"), (1, 2)),
        "dtype": name("torch", "bfloat16"),
        "layout": call(name("torch.serialization", "_get_layout"), "torch.strided"),
    }
    (tmp_path / "a").write_bytes(zipped(pickled(opcodes)))
    assert lucid.load(tmp_path / "a") == {
        "set": {1, 2},
        "frozenset": frozenset({"a"}),
        "complex": 1 - 2j,
        "bytes": "aé".encode("latin1"),
        "empty bytes": b"",
        "bytearray": bytearray("aé".encode("latin1")),
        "Counter": {"a": 2},
        "defaultdict": {"k": [1]},
        "device": "cuda:1",
        "Size": (1, 2),
        "dtype": "bfloat16",
        "layout": "torch.strided",
    }


@pytest.mark.parametrize(
    "opcodes",
    {
        "OrderedDict of numbers": call(name("collections", "OrderedDict"), [1, 2]),
        "OrderedDict of a string": call(name("collections", "OrderedDict"), "ab"),
        "defaultdict of a function": call(
            name("collections", "defaultdict"), name("_codecs", "encode")
        ),
        "Counter of a list": call(name("collections", "Counter"), [1]),
        "set of lists": call(name("__builtin__", "set"), [[1]]),
        "set of a dict": call(name("__builtin__", "set"), {}),
        "complex of strings": call(name("__builtin__", "complex"), "1", "2"),
        "bytes of a large number": call(name("__builtin__", "bytes"), 2**40),
        "bytearray of a large number": call(name("__builtin__", "bytearray"), 2**40),
        "bytes by another codec": call(name("_codecs", "encode"), "a", "zlib"),
        "bytes that latin1 has not": call(name("_codecs", "encode"), "重", "latin1"),
        "list called": call(name("__builtin__", "list"), [1]),
        "Size of floats": call(name("torch", "Size"), (1.5,)),
        "device of a number": call(name("torch", "device"), 3),
        "dtype called": call(name("torch", "float32"), 1),
        "a string called": call(value("print"), 1),
        "a tensor's state": build(value("x"), {"a": 1}),
        "attributes that are no dict": build(ORDERED, [1]),
        "known name as a class": new(name("collections", "OrderedDict")),
    }.values(),
)
def test_a_known_name_with_other_arguments_is_refused(opcodes: bytes, tmp_path: Path):
    refused(tmp_path / "a", zipped(pickled({"x": opcodes})), "a/data.pkl", "at 'x'")


@pytest.mark.parametrize("file", [zipped, legacy])
def test_bytes_cannot_be_copied_without_end(file: Any, tmp_path: Path):
    text = value("x" * 10**5) + b"q\x00"
    encode = name("_codecs", "encode") + b"q\x01"
    again = b"h\x01h\x00" + value("latin1") + b"\x86R"
    opcodes = b"(" + text + encode + again * 1000 + b"t"
    refused(tmp_path / "a", file(pickled(opcodes)), "unfolds to more than it holds")


WATCH = """
import json, sys
from pathlib import Path
import lucid
from tests.files.fuzzing import Watch
folder, refused = Path(sys.argv[1]), 0
watch = Watch()
for path in sorted(folder.glob("*.pt")):
    for unknown in ("error", "skip"):
        with watch:
            try:
                lucid.load(path, unknown=unknown)
            except lucid.CheckpointError:
                refused += 1
print(json.dumps({"refused": refused, "events": watch.events}))
"""


def test_no_payload_ever_runs(tmp_path: Path):
    folder = tmp_path / "payloads"
    folder.mkdir()
    for i, opcodes in enumerate(PAYLOADS.values()):
        for file in (zipped, legacy):
            path = folder / f"{i}{file.__name__}.pt"
            path.write_bytes(file(opcodes, {}))
    root = Path(__file__).parents[3]
    child = subprocess.run(
        [sys.executable, "-c", WATCH, folder],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    result = json.loads(child.stdout)
    assert result["events"] == []
    assert result["refused"] >= 2 * len(PAYLOADS)
    assert os.listdir(tmp_path) == ["payloads"]


def test_the_payloads_would_run_elsewhere(tmp_path: Path):
    script = "import pickle, sys; pickle.loads(bytes.fromhex(sys.argv[1]))"
    command = [sys.executable, "-c", script, PAYLOADS["os.system by REDUCE"].hex()]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert os.listdir(tmp_path) == ["unpickled"]
