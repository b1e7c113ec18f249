"""One pickle of a file, and the error that names its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lucid.files.error import CheckpointError
from lucid.files.pytorch.machine import Machine, Makers
from lucid.files.pytorch.stream import Stream
from lucid.files.pytorch.values import RefusedError


def unpickle(stream: Stream, makers: Makers, path: Path, entry: str | None) -> Any:
    """The next value of a stream.

    Raises:
        CheckpointError: with file, entry, byte and the nearest name.
    """
    machine = Machine(stream, makers)
    try:
        return machine.run()
    except RefusedError as error:
        raise CheckpointError(path, str(error), entry, machine.where()) from None
