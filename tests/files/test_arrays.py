"""What reading costs in memory: the arrays, and one of them a second time."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import lucid
import numpy as np
import pytest

from tests.files.pytorch.assemble import legacy, pickled, storage, tensor, zipped

MIB = 2**20
ROOT = Path(__file__).parents[2]
LOAD = """
import sys, lucid
from tests.files.fuzzing import peak
lucid.load(sys.argv[2])  # what the first call alone needs
before = peak()
loaded = lucid.load(sys.argv[1])
print(peak() - before)
"""
# 24 MiB each, in every form in which they might be copied.
BIG: dict[str, np.ndarray] = {
    "plain": np.ones((24, MIB // 4), np.float32),
    "Fortran": np.ones((MIB // 4, 24), np.float32).T,
    "big-endian": np.ones((24, MIB // 4), ">f4"),
    "one Fortran column": np.ones((1, 24 * MIB // 8, 2), np.float32).T,
    "bool": np.ones((24, MIB), bool),
}


def python(script: str, *arguments: Any, memory: int | None = None) -> str:
    limit = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({memory},) * 2)\n"
    )
    command = [sys.executable, "-c", (limit if memory else "") + script, *arguments]
    env = os.environ | {"LUCID_BLAS": "0", "PYTHONPATH": str(ROOT)}
    child = subprocess.run(command, env=env, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    return child.stdout


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed, lucid.save])
def test_no_more_than_two_copies_are_held(write: Callable[..., Any], tmp_path: Path):
    path = tmp_path / ("a.safetensors" if write is lucid.save else "a.npz")
    if write is lucid.save:
        write(BIG, path)
    else:
        write(path, **BIG)
    lucid.save({"a": np.ones(1)}, tmp_path / "small.npz")
    # All arrays, one of them again, and the reader's blocks.
    most = (len(BIG) + 1) * 24 + 12
    assert int(python(LOAD, path, tmp_path / "small.npz")) < most * MIB


@pytest.mark.parametrize("file", [zipped, legacy])
def test_of_a_checkpoint_too_no_more_than_two_copies_are_held(
    file: Callable[..., bytes], tmp_path: Path
):
    items = 6 * MIB
    weights = {key: tensor((items,), (1,), 0, storage(items, key=key)) for key in "01"}
    storages = dict.fromkeys("01", bytes(4 * items))
    (tmp_path / "a.pt").write_bytes(file(pickled(weights), storages))
    (tmp_path / "small.pt").write_bytes(zipped(pickled({"w": tensor()})))
    assert int(python(LOAD, tmp_path / "a.pt", tmp_path / "small.pt")) < 84 * MIB


@pytest.mark.skipif(sys.platform == "darwin", reason="its kernel limits no memory")
def test_without_memory_an_array_is_refused_by_name(tmp_path: Path):
    script = """
import resource, sys, lucid, re
now = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
for room in range(0, 100, 10):
    resource.setrlimit(resource.RLIMIT_AS, (now + (room << 20), -1))
    try:
        lucid.load(sys.argv[1])
    except lucid.CheckpointError as error:
        print(error)
"""
    np.savez(tmp_path / "a.npz", a=BIG["plain"])
    lucid.save({"a": BIG["plain"]}, tmp_path / "a.safetensors")
    for path in tmp_path.iterdir():
        lines = python(script, path).splitlines()
        assert 3 <= len(lines) <= 8
        for line in lines:
            assert f"{path}, entry 'a" in line
            assert "is larger than the memory that is left" in line
