"""What is wrong with a file, and where in it."""

from __future__ import annotations

import os


class CheckpointError(ValueError):
    """A file is damaged or not a checkpoint; the message says where.

    Args:
        path: the file.
        problem: what is wrong; follows "the file: " in the message.
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
