"""What measured times belong to."""

from __future__ import annotations

from importlib.metadata import version

import lucid
from lucid.tuning import store
from lucid.tuning.machine import machine
import pytest


def test_the_versions_and_the_threads_are_in_it():
    about = machine()
    assert about["mlx"] == version("mlx")
    assert about["lucid"] == lucid.__version__
    assert int(about["threads"].partition(",")[0]) >= 1
    assert all(isinstance(value, str) and value for value in about.values())


@pytest.mark.parametrize(
    ("variable", "value"), [("OMP_NUM_THREADS", "77"), ("LUCID_MALLOC", "other")]
)
def test_other_threads_or_another_allocator_have_another_file(
    monkeypatch, variable, value
):
    before = store.path()
    monkeypatch.setenv(variable, value)
    assert store.path() == before  # a process has one machine
    machine.cache_clear()
    try:
        assert store.path() != before
    finally:
        monkeypatch.undo()
        machine.cache_clear()
