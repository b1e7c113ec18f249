"""Archives of `torch.save`, in an environment that need not have PyTorch."""

from __future__ import annotations

from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any
import zipfile

import lucid
import mlx.core as mx
import numpy as np
import pytest

from tests.files import refused
from tests.files.pytorch import BFLOAT16, CHECKPOINTS, PLANS, STATE, VIEWS, assert_same
from tests.files.pytorch.assemble import pickled, tensor, zipped

FORMATS = ("{}.pt", "{}_protocol5.pt", "{}_legacy.pth")


@pytest.mark.parametrize("form", FORMATS)
def test_a_state_dict_comes_back_in_its_order(form: str):
    loaded = lucid.load(CHECKPOINTS / form.format("state"))
    assert list(loaded) == [*STATE, "bfloat16"]
    for name, array in STATE.items():
        assert_same(loaded[name], array)
    assert loaded["bfloat16"].dtype == mx.bfloat16
    assert loaded["bfloat16"].tolist() == BFLOAT16


@pytest.mark.parametrize("form", FORMATS)
def test_views_of_a_storage_are_what_they_were(form: str):
    loaded = lucid.load(CHECKPOINTS / form.format("views"))
    for name, array in VIEWS.items():
        assert_same(loaded[name], array)
    assert loaded["conjugate"].tolist() == [1 - 2j, 3 + 4j]
    assert loaded["negative"].tolist() == [-2.0, 4.0]


@pytest.mark.parametrize("form", FORMATS)
def test_equal_views_are_one_array(form: str):
    loaded = lucid.load(CHECKPOINTS / form.format("views"))
    assert loaded["same"] is loaded["base"]


@pytest.mark.parametrize("form", FORMATS)
def test_what_trainers_save_comes_back_in_plain_containers(form: str):
    loaded = lucid.load(CHECKPOINTS / form.format("nested"))
    plain: dict[str, Any] = {
        "current_epoch": 3,
        "_best_ema": 0.5,
        "logging": {"losses": [0.25, 7], "done": True},
        "init_args": {"plans": PLANS},
        "kinds": ["float16", np.dtype("float32"), np.dtype("float64")],
        "device": "cuda:1",
        "size": (2, 3),
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "text": "text",
        "complex": 1 + 2j,
    }
    for name, want in plain.items():
        assert loaded[name] == want
        assert type(loaded[name]) is type(want)
    weights = loaded["network_weights"]
    assert type(weights) is dict
    assert list(weights) == [
        *("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
    assert weights["num_batches_tracked"].item() == 1
    adam = loaded["optimizer_state"]
    assert adam["param_groups"][0]["lr"] == 0.25
    assert adam["state"][0]["exp_avg"].shape == (2,)
    assert_same(loaded["parameter"], np.ones(2, np.float32))
    assert_same(loaded["array"], np.arange(4).reshape(2, 2))
    assert_same(loaded["fortran"], np.arange(4.0).reshape(2, 2))
    assert_same(loaded["big-endian"], np.arange(3, dtype=np.int32))


def test_an_archive_of_a_big_endian_machine_is_read():
    loaded = lucid.load(CHECKPOINTS / "big_endian.pt")
    assert_same(loaded["w"], np.arange(3, dtype=np.float32))
    assert_same(loaded["i"], np.arange(3))


@pytest.mark.parametrize(
    "ending", ["pt", "pth", "ckpt", "model", "bin", "npz", "x", ""]
)
def test_the_ending_does_not_matter(ending: str, tmp_path: Path):
    path = tmp_path / f"a.{ending}"
    shutil.copy(CHECKPOINTS / "state.pt", path)
    assert list(lucid.load(path)) == [*STATE, "bfloat16"]


def test_what_is_loaded_can_be_saved(tmp_path: Path):
    loaded = lucid.load(CHECKPOINTS / "state.pt")
    lucid.save(loaded, tmp_path / "a.npz")
    again = lucid.load(tmp_path / "a.npz")
    assert list(again) == list(loaded)
    assert_same(again["weight"], STATE["weight"])


def test_pytorch_is_neither_imported_nor_needed():
    script = """
import sys
for name in ("torch", "pickle", "_pickle"):
    sys.modules.pop(name, None)
before = set(sys.modules)
sys.modules["torch"] = None
import lucid
for path in sys.argv[1:]:
    lucid.load(path)
"""
    paths = [CHECKPOINTS / form.format("nested") for form in FORMATS]
    paths.append(CHECKPOINTS / "script.pt")
    subprocess.run([sys.executable, "-c", script, *paths], check=True)


def test_a_compressed_archive_is_refused(tmp_path: Path):
    data = zipped(pickled({"w": tensor()}), compression=zipfile.ZIP_DEFLATED)
    refused(tmp_path / "a.pt", data, "entry 'a/data.pkl'", "compressed")


@pytest.mark.parametrize(
    ("storages", "words"),
    [
        ({}, ("entry 'a/data/0'", "missing")),
        ({"0": bytes(23)}, ("entry 'a/data/0'", "23 bytes of 24")),
        ({"0": bytes(28)}, ("entry 'a/data/0'", "28 bytes of 24")),
    ],
)
def test_a_storage_that_is_lost_is_refused(
    storages: dict[str, bytes], words: tuple[str, ...], tmp_path: Path
):
    refused(tmp_path / "a.pt", zipped(pickled({"w": tensor()}), storages), *words)


@pytest.mark.parametrize("order", [b"", b"middle", bytes(1000)])
def test_an_unknown_byte_order_is_refused(order: bytes, tmp_path: Path):
    data = zipped(pickled({"w": tensor()}))
    path = tmp_path / "a.pt"
    path.write_bytes(data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/byteorder", order)
    with pytest.raises(lucid.CheckpointError, match="byte"):
        lucid.load(path)


def test_an_exported_program_is_called_what_it_is(tmp_path: Path):
    path = tmp_path / "a.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/models/model.json", "{}")
    with pytest.raises(lucid.CheckpointError, match=r"program of `torch\.export`"):
        lucid.load(path)


def test_bytes_after_the_pickle_are_refused(tmp_path: Path):
    data = zipped(pickled({"w": tensor()}) + b"more")
    refused(tmp_path / "a.pt", data, "entry 'a/data.pkl'", "bytes after its end")
