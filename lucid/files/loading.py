"""State dicts from disk: everything at once, and nothing is ever executed."""

from __future__ import annotations

import os
from pathlib import Path

from lucid.files.npz import read_npz
from lucid.files.safetensors import read_safetensors
from lucid.files.saving import check_suffix
import mlx.core as mx


def load(path: str | os.PathLike[str]) -> dict[str, mx.array]:
    """Read all arrays of an `.npz` or `.safetensors` file, by name.

    Raises:
        CheckpointError: if the file is damaged or holds anything but plain arrays.
        ValueError: for another suffix.
        OSError: if the file cannot be read.
    """
    source = Path(os.fspath(path))
    suffix = check_suffix(source)
    with source.open("rb") as file:
        if suffix == ".npz":
            return read_npz(file, source)
        return read_safetensors(file, source)
