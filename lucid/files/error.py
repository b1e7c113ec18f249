"""What is wrong with a file, and where in it."""

from __future__ import annotations

import os


class CheckpointError(ValueError):
    """A file that is damaged, or is not a checkpoint; says which entry."""

    def __init__(self, path: os.PathLike[str], problem: str, entry: str | None = None):
        # A name that is not UTF-8 must not make the message unprintable.
        shown = os.fspath(path).encode("utf-8", "backslashreplace").decode()
        where = shown if entry is None else f"{shown}, entry {entry!r}"
        super().__init__(f"{where}: {problem}")
