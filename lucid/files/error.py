"""What is wrong with a file."""

from __future__ import annotations

from pathlib import Path


class CheckpointError(ValueError):
    """A file that is damaged, or is not a checkpoint; says which entry."""

    def __init__(self, path: Path, problem: str, entry: str | None = None):
        where = f"{path}" if entry is None else f"{path}, entry {entry!r}"
        super().__init__(f"{where}: {problem}")
