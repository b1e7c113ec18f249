"""Whatever an archive holds, it is loaded or refused, and a call cannot crash."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[2]


def fuzz(seed: int, count: int) -> dict[str, float]:
    """The counts of one child process, which must end well."""
    command = [sys.executable, "-m", "tests.program.fuzzing", str(seed), str(count)]
    env = os.environ | {"LUCID_BLAS": "0", "PYTHONPATH": str(ROOT)}
    child = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert child.returncode == 0, f"{' '.join(command[1:])}: {child.stderr}"
    return json.loads(child.stdout)


def test_hostile_programs_are_loaded_or_refused():
    result = fuzz(seed=0, count=500)
    assert result["loaded"] + result["refused"] == 500
    assert min(result["loaded"], result["ran"], result["refused"]) > 20


@pytest.mark.slow
def test_100_000_hostile_programs_are_loaded_or_refused():
    for seed in range(1, 11):
        result = fuzz(seed, count=10_000)
        print(seed, result)
        assert result["peak_mib"] < 1024
