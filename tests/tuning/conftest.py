"""Every test has a cache folder of its own, and forgets what it measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lucid.tuning import store, switch, timing
import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder, not made yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LUCID_CACHE", str(folder))
    monkeypatch.delenv("LUCID_AUTOTUNE", raising=False)
    monkeypatch.setattr(switch, "_switched", None)  # no test before has decided
    store.forget()
    yield folder
    store.forget()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every candidate runs a few times, however little that says."""
    monkeypatch.setattr(timing, "ROUNDS", (1, 1))
    monkeypatch.setattr(timing, "LAUNCHES", 2)
