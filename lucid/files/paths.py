"""From what a user calls a path to a file that can be read or replaced."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
import stat
from typing import IO, Any


def to_path(path: Any) -> Path:
    """A `str`, `bytes` or path-like as a Path.

    Raises:
        TypeError: for anything else.
    """
    try:
        text = os.fsdecode(path)
        os.fsencode(text)  # refuses what no file can be called
        if "\0" in text:
            raise ValueError("a zero byte")
        return Path(text)
    except ValueError as error:
        raise ValueError(f"`path` cannot name a file: {error}.") from None
    except TypeError:
        raise TypeError(
            f"`path` must be a str, bytes or path, got {type(path).__name__}."
        ) from None


def open_file(path: Path) -> IO[bytes]:
    """A regular file, open for reading: a pipe would keep its reader waiting.

    Raises:
        OSError: if there is no such file, or it is of another kind.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def replaceable(path: Path) -> Path:
    """The file that `path` leads to through symbolic links, there already or not.

    Raises:
        OSError: if it is a folder, a pipe or a device, or the links go in a circle.
    """
    with contextlib.suppress(FileNotFoundError):  # it will be made
        _check_regular(path, os.stat(path).st_mode)
    return Path(os.path.realpath(path))


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
