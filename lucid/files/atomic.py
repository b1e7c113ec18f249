"""Writing beside the target, then renaming: a crash leaves the old file or the new one.

A temporary file carries a mark of its target and is locked while its process lives.
A later save to the same target removes those that are no longer locked.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import hashlib
import os
from pathlib import Path
import secrets
import stat
from typing import IO


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `target` once it is written and synced."""
    mark = (
        f".lucid-{hashlib.blake2b(os.fsencode(target.name), digest_size=8).hexdigest()}"
    )
    _remove_dead(target.parent, mark)
    temporary = target.with_name(f"{mark}-{secrets.token_hex(8)}{target.suffix}")
    try:
        with _create(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # renamed, or never made
            os.unlink(temporary)
        raise
    _sync_folder(target.parent)


def _create(temporary: Path) -> IO[bytes]:
    """A new, locked file."""
    while True:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        file = os.fdopen(os.open(temporary, flags, 0o666), "wb")
        _lock(file.fileno(), fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink > 0:
            return file
        file.close()  # taken for a dead one before it was locked


def _remove_dead(folder: Path, mark: str) -> None:
    with os.scandir(folder) as entries:
        names = [entry.path for entry in entries if entry.name.startswith(mark)]
    for name in names:
        with contextlib.suppress(OSError):  # gone already, or somebody else's
            descriptor = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    os.unlink(name)
            finally:
                os.close(descriptor)


def _lock(descriptor: int, operation: int) -> bool:
    """Whether the lock was taken; not where a file system has none."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # network file systems
            raise
    finally:
        os.close(descriptor)
