"""Whatever a file holds, it is read or refused: nothing else happens."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

from tests.files.fuzz_inputs import GENERATORS

ROOT = Path(__file__).parents[2]


def fuzz(kind: str, seed: int, count: int) -> dict[str, float]:
    """The counts of one child process, which must end well."""
    command = [sys.executable, "-m", "tests.files.fuzzing", kind, str(seed), str(count)]
    env = os.environ | {"LUCID_BLAS": "0", "PYTHONPATH": str(ROOT)}
    child = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert child.returncode == 0, f"{' '.join(command[1:])}: {child.stderr}"
    return json.loads(child.stdout)


@pytest.mark.parametrize("kind", GENERATORS)
def test_hostile_files_are_read_or_refused(kind: str):
    result = fuzz(kind, seed=0, count=1000)
    assert min(result["loaded"], result["refused"]) > 50
    assert result["loaded"] + result["refused"] == 1000


@pytest.mark.slow
@pytest.mark.parametrize("kind", GENERATORS)
def test_100_000_hostile_files_are_read_or_refused(kind: str):
    for seed in range(1, 11):
        result = fuzz(kind, seed, count=10_000)
        print(kind, seed, result)
        assert result["peak_mib"] < 1024
