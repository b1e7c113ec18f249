"""Times in memory, in a file of the cache folder, and as a state in a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys

import lucid
from lucid.tuning import store
import mlx.core as mx
import numpy as np
import pytest

TIMES = {"flat grid": 1.5, "columns": 2, "Winograd": None}


def file_of(cache: Path) -> Path:
    (file,) = cache.glob("*.json")
    return file


def test_a_later_process_reads_what_was_kept(cache):
    store.keep("a problem", "forward", TIMES)
    store.keep("a problem", "step", {"columns": 7.0})
    store.forget()
    assert store.look_up("a problem", "forward") == TIMES
    assert store.look_up("a problem", "step") == {"columns": 7.0}
    assert store.look_up("a problem", "weight gradient") == {}
    assert store.look_up("another", "forward") == {}
    content = json.loads(file_of(cache).read_text())
    assert content["machine"].keys() >= {"chip", "blas", "threads", "mlx", "lucid"}


def planted(cache: Path) -> dict:
    """A file as it should be, of one problem."""
    store.keep("planted", "forward", TIMES)
    store.forget()
    return json.loads(file_of(cache).read_text())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "not json",
        lambda text: "[]",
        lambda text: "null",
        lambda text: "[" * 100_000,
        lambda text: text.replace("1.5", "NaN"),
        lambda text: text.replace("1.5", "-1"),
        lambda text: text.replace("1.5", "1e999"),
        lambda text: text.replace("1.5", '"fast"'),
        lambda text: text.replace("1.5", "true"),
        lambda text: text.replace("1.5", "[1]"),
        lambda text: text.replace("1.5", "1" * 5000),
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace('"chip": "', '"chip": "another '),
        lambda text: text.replace('"mlx": "', '"mlx": "9'),
        lambda text: text.replace('"times"', '"time"'),
        lambda text: text + " " * 2**24,
        lambda text: b"\xff\x00" * 100,
    ],
    ids=range(19),
)
def test_a_damaged_or_foreign_file_is_ignored_and_replaced(cache, damage):
    planted(cache)
    content = damage(file_of(cache).read_text())
    file_of(cache).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    assert store.look_up("planted", "forward") == {}
    store.keep("new", "forward", TIMES)
    store.forget()
    assert store.look_up("new", "forward") == TIMES
    assert store.look_up("planted", "forward") == {}


@pytest.mark.parametrize("make", [Path.mkdir, lambda p: p.symlink_to("nowhere")])
def test_what_is_no_file_is_harmless(cache, make):
    planted(cache)
    file = file_of(cache)
    file.unlink()
    make(file)
    assert store.look_up("planted", "forward") == {}
    store.keep("new", "forward", TIMES)
    assert store.look_up("new", "forward") == TIMES


def test_what_another_process_kept_meanwhile_stays(cache):
    store.keep("mine", "forward", TIMES)
    content = json.loads(file_of(cache).read_text())
    content["times"]["theirs"] = {"forward": {"columns": 3}}
    file_of(cache).write_text(json.dumps(content))
    store.keep("mine too", "forward", TIMES)
    store.forget()
    assert store.look_up("theirs", "forward") == {"columns": 3}
    assert store.look_up("mine", "forward") == TIMES


@pytest.mark.parametrize("folder", ["/proc/lucid", "/dev/null/lucid"])
def test_a_folder_that_cannot_be_written_is_harmless(monkeypatch, folder):
    monkeypatch.setenv("LUCID_CACHE", folder)
    store.keep("a problem", "forward", TIMES)
    assert store.look_up("a problem", "forward") == TIMES
    store.forget()
    assert store.look_up("a problem", "forward") == {}


@pytest.mark.parametrize("off", ["0", "off", "None", "False", "no"])
def test_nothing_is_written_if_there_is_to_be_no_file(monkeypatch, cache, off):
    monkeypatch.setenv("LUCID_CACHE", off)
    monkeypatch.chdir(cache.parent)
    assert store.path() is None
    store.keep("a problem", "forward", TIMES)
    assert store.look_up("a problem", "forward") == TIMES
    assert list(cache.parent.iterdir()) == []


def test_the_folder_is_the_systems_for_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("LUCID_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    for xdg in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", xdg)
        assert store.path().parent == tmp_path / ".cache" / "lucid"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert store.path().parent == tmp_path / "Library" / "Caches" / "lucid"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store.path().parent == tmp_path / "xdg" / "lucid"


def test_no_home_is_no_file(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LUCID_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert store.path() is None


def test_a_state_goes_through_a_checkpoint(tmp_path):
    store.keep("a problem", "forward", TIMES)
    file = tmp_path / "checkpoint.npz"
    lucid.save({"autotune": lucid.get_autotune_state()}, file)
    store.keep("a problem", "forward", {"columns": 99.0})
    before = store.generation()
    lucid.set_autotune_state(lucid.load(file)["autotune"])
    assert store.look_up("a problem", "forward") == TIMES
    assert store.generation() > before


def test_a_state_is_what_this_process_went_by(cache):
    store.keep("a problem", "forward", TIMES)
    store.keep("another", "forward", TIMES)
    store.forget()
    assert b"problem" not in bytes(np.array(lucid.get_autotune_state()))
    store.look_up("a problem", "forward")
    state = bytes(np.array(lucid.get_autotune_state()))
    assert b"a problem" in state
    assert b"another" not in state


def test_a_state_of_another_machine_does_not_enter_the_file(cache):
    theirs = {"format": 1, "times": {"theirs": {"forward": TIMES}}}
    text = json.dumps(theirs).encode()
    lucid.set_autotune_state(mx.array(np.frombuffer(text, np.uint8)))
    assert store.look_up("theirs", "forward") == TIMES
    store.keep("mine", "forward", TIMES)
    assert json.loads(file_of(cache).read_text())["times"].keys() == {"mine"}


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        mx.array([1, 2, 3]),
        mx.array([], mx.uint8),
        mx.array(np.frombuffer(b"{}", np.uint8)),
        mx.array(np.frombuffer(b'{"format": 1, "times": [1]}', np.uint8)),
    ],
    ids=range(6),
)
def test_what_is_no_state_is_refused(state):
    with pytest.raises(TypeError, match="`new_state`"):
        lucid.set_autotune_state(state)


WRITER = """
import sys
from lucid.tuning import store
for i in range(30):
    store.keep(f"{sys.argv[1]} {i}", "forward", {"columns": i})
"""


@pytest.mark.slow
def test_two_processes_leave_a_whole_file(cache):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, name]) for name in ("a", "b")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    for name in ("a", "b"):
        for i in range(30):
            assert store.look_up(f"{name} {i}", "forward") == {"columns": i}
    assert sorted(file.suffix for file in cache.iterdir()) == [".json", ".lock"]
