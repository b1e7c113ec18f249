"""What is wrong with a file, and where in it."""

from __future__ import annotations

import os


class CheckpointError(ValueError):
    """A file that is damaged, or is not a checkpoint; names entry and place.

    Args:
        path: the file.
        problem: what was met; goes on after "the file: ".
        entry: the array, or the entry of an archive.
        place: where in the entry.
    """

    def __init__(
        self,
        path: os.PathLike[str],
        problem: str,
        entry: str | None = None,
        place: str | None = None,
    ):
        where = os.fspath(path)
        where += "" if entry is None else f", entry {entry!r}"
        where += "" if place is None else f", {place}"
        # A name that is not UTF-8 must not make the message unprintable.
        message = f"{where}: {problem}".encode("utf-8", "backslashreplace")
        super().__init__(message.decode())
