"""Writing beside the target, then renaming: a crash leaves the old file or the new."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import secrets
import stat
from typing import IO


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[tuple[IO[bytes], str]]:
    """A new file beside `target` that takes its place once written and synced."""
    temporary = str(target.parent / f".lucid-{secrets.token_hex(8)}{target.suffix}")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    with os.fdopen(os.open(temporary, flags, 0o666), "wb") as file:
        try:
            yield file, temporary
            file.flush()
            os.fsync(file.fileno())
            if target.exists():
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
