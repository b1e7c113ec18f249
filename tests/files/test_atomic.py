"""A save that fails or is killed leaves what was there."""

from __future__ import annotations

import os
from pathlib import Path
import stat
import subprocess
import sys

import lucid
import mlx.core as mx
import numpy as np
import pytest

from tests.files import STATE, assert_equal, fail


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("step", ["array", "fsync", "replace"])
def test_a_failed_save_leaves_what_was_there(
    path: Path, step: str, exists: bool, monkeypatch: pytest.MonkeyPatch
):
    if exists:
        lucid.save(STATE, path)
    before = {
        name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)
    }
    if step == "array":
        monkeypatch.setattr(np.lib.format, "write_array", fail)
        monkeypatch.setattr(mx, "save_safetensors", fail)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        lucid.save({"w": mx.zeros(5)}, path)
    after = {
        name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)
    }
    assert after == before


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
