"""Bugs planted in the source of Metal kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib

from lucid.metal import launch
import pytest


@contextlib.contextmanager
def planted_bug(
    monkeypatch: pytest.MonkeyPatch,
    kernels: Sequence[str],
    file: str,
    right: str,
    wrong: str,
) -> Iterator[None]:
    """In `file`, one of `kernels` or what they share, `wrong` stands for `right`."""
    texts = {name: launch.source(name) for name in ("common", *kernels)}
    assert right in texts[file]
    texts[file] = texts[file].replace(right, wrong)
    monkeypatch.setattr(launch, "source", texts.__getitem__)
    monkeypatch.setenv("LUCID_METAL", "trust")  # not the guard, which has its own test
    launch.compiled.cache_clear()
    try:
        yield
    finally:
        launch.compiled.cache_clear()
