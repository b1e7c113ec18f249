"""A save that fails or is killed leaves what was there."""

from __future__ import annotations

import os
from pathlib import Path
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from typing import Any

import lucid
import mlx.core as mx
import pytest

from tests.files import STATE, assert_equal, fail


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_save_leaves_what_was_there(
    path: Path, step: str, exists: bool, monkeypatch: pytest.MonkeyPatch
):
    if exists:
        lucid.save(STATE, path)
    before = contents(path.parent)
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        lucid.save({"w": mx.zeros(5)}, path)
    assert contents(path.parent) == before


def test_a_full_disk_is_an_os_error_and_leaves_what_was_there(path: Path):
    lucid.save(STATE, path)
    before = contents(path.parent)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            lucid.save({"w": mx.zeros(2**20)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(path.parent) == before


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_process_killed_while_saving_leaves_the_old_file(path: Path, step: str):
    lucid.save(STATE, path)
    script = f"import lucid, os\nos.{step} = lambda *_: os._exit(9)\n"
    script += f"lucid.save({{'w': lucid.zeros(9)}}, {str(path)!r})"
    env = os.environ | {"LUCID_BLAS": "0"}
    assert subprocess.run([sys.executable, "-c", script], env=env).returncode == 9
    assert_equal(lucid.load(path), STATE)


def test_the_new_file_is_whole_and_synced_before_it_takes_the_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int):
        steps.append("sync" if stat.S_ISREG(os.fstat(descriptor).st_mode) else "folder")
        fsync(descriptor)

    def recorded_replace(source: str, target: Path):
        assert_equal(lucid.load(source), STATE)
        assert Path(source).parent == target.parent
        steps.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    lucid.save(STATE, path)
    assert steps == ["sync", "replace", "folder"]


def test_the_files_mode_follows_the_umask_and_then_the_file(path: Path):
    umask = os.umask(0o027)
    try:
        lucid.save(STATE, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        lucid.save(STATE, path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_its_target_is_written(path: Path, exists: bool):
    target = path.with_name(f"target{path.suffix}")
    path.symlink_to(target.name)
    if exists:
        target.write_bytes(b"old")
    lucid.save(STATE, path)
    assert path.is_symlink()
    assert_equal(lucid.load(target), STATE)


def test_an_interrupt_just_after_the_renaming_is_the_interrupt(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    replace = os.replace

    def interrupted(source: Any, target: Any):
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lucid.save(STATE, path)
    assert os.listdir(path.parent) == [path.name]
    assert_equal(lucid.load(path), STATE)


KILLED_IN_THE_MIDDLE = """
import os, sys, lucid
os.fsync = lambda *_: os.kill(os.getpid(), 9)
lucid.save({"w": lucid.zeros(9)}, sys.argv[1])
"""
STOPPED_IN_THE_MIDDLE = """
import os, sys, lucid
os.fsync = lambda *_: (print("here", flush=True), sys.stdin.read(), os._exit(0))
lucid.save({"w": lucid.zeros(9)}, sys.argv[1])
"""
ENV = os.environ | {"LUCID_BLAS": "0"}


def test_the_next_save_removes_what_a_killed_one_left(path: Path):
    other = path.with_name(f"other{path.suffix}")
    for target in (path, path, other):
        command = [sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(target)]
        assert subprocess.run(command, env=ENV).returncode == -signal.SIGKILL
    assert len(os.listdir(path.parent)) == 2  # the second removed the first one's
    lucid.save(STATE, path)
    assert path.name in os.listdir(path.parent)
    assert len(os.listdir(path.parent)) == 2  # other's stays, until other is saved
    lucid.save(STATE, other)
    assert sorted(os.listdir(path.parent)) == [other.name, path.name]


def test_the_next_save_leaves_what_a_living_one_is_writing(path: Path):
    command = [sys.executable, "-c", STOPPED_IN_THE_MIDDLE, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=ENV, stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"
        lucid.save(STATE, path)
        assert len(os.listdir(path.parent)) == 2
        child.communicate()
    lucid.save(STATE, path)
    assert os.listdir(path.parent) == [path.name]


SAVING_FOREVER = """
import itertools, sys, lucid, mlx.core as mx
for i in itertools.count(int(sys.argv[2])):
    print("here", flush=True)
    state = {name: mx.full((300, 300), i) for name in "abc"}
    lucid.save(state, sys.argv[1])
"""


@pytest.mark.slow
def test_saves_killed_at_random_leave_one_whole_file(path: Path):
    rng, seen = random.Random(0), set()
    for i in range(60):
        command = [sys.executable, "-c", SAVING_FOREVER, str(path), str(100 * i)]
        with subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(rng.randint(1, 4)):
                child.stdout.readline()
            time.sleep(rng.uniform(0, 0.02))
            child.kill()
        assert len(os.listdir(path.parent)) <= 2  # at most one temporary
        if path.exists():
            arrays = lucid.load(path)
            assert set(arrays) == set("abc")
            numbers = {array.min().item() for array in arrays.values()}
            numbers |= {array.max().item() for array in arrays.values()}
            assert len(numbers) == 1
            seen |= numbers
    assert len(seen) > 20
    lucid.save(STATE, path)
    assert os.listdir(path.parent) == [path.name]
