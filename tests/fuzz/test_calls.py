"""Odd calls of everything public: computed, or refused by name and without a trace."""

from __future__ import annotations

import os

import pytest

from tests.fuzz import runner
from tests.fuzz.calls import ALL_TARGETS

# Of each run, so that a fault can be seen again: `python -m tests.fuzz SEED 0 1000`.
SEED = int(os.environ.get("LUCID_FUZZ_SEED", "1"))


def test_functions_classes_and_methods_are_found():
    names = {target.name for target in ALL_TARGETS}
    assert len(names) > 150
    assert {"lucid.zeros", "F.pad", "nn.init.uniform_", "lucid.optim.Adam"} <= names
    assert {"nn.Conv3d", "nn.Module.register_buffer", "nn.ModuleDict.update"} <= names


def test_a_few_odd_calls():
    report = runner.run(SEED, 1500)
    assert not report.faults, str(report)
    assert report.calls == 1500


@pytest.mark.slow
def test_many_odd_calls():
    count = 100_000
    report = runner.run(SEED + 1, count, workers=os.cpu_count() or 1)
    assert not report.faults, str(report)
    assert report.calls == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ("os.abort()", "exit status -6"),
        ("os._exit(0)", "exit status 0"),
        ("mx.random.split(3)", "split"),
        ("mx.random.uniform(); raise ValueError('`input`')", "something changed"),
        ("raise ValueError('of no argument')", "of no argument"),
    ],
)
def test_each_kind_of_fault_is_found(
    broken: str, fault: str, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    """`F.relu` is broken in the processes that make the calls."""
    (tmp_path / "sitecustomize.py").write_text(
        "import lucid, mlx.core as mx, os\n"
        f"def relu(input, inplace=False):\n    {broken}\n"
        "lucid.nn.functional.relu = relu\n"
        "relu.__module__ = 'lucid'\n"
    )
    monkeypatch.setattr(runner, "ROOT", f"{tmp_path}{os.pathsep}{runner.ROOT}")
    report = runner.run(SEED, 400)
    found = {words: call for words, call in report.faults.items() if fault in words}
    assert found, str(report)
    assert all("relu" in call.lower() for call in found.values())
