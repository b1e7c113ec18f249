"""Any file that Lucid reads, known by its content; nothing in it is ever executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

from lucid.files.archive import Archive
from lucid.files.error import CheckpointError
from lucid.files.npz import read_npz
from lucid.files.paths import open_file, to_path
from lucid.files.safetensors import read_safetensors

# What files begin with that are taken for checkpoints.
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer; `git lfs pull` fetches the file",
    b"<": "a web page or XML",
    b"\x1f\x8b": "compressed by gzip",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a single NumPy array; `np.load` reads it",
    b"\x80": "a pickle",
}


def load(path: str | bytes | os.PathLike[Any]) -> dict[str, Any]:
    """Read all arrays of an `.npz` or `.safetensors` file, by name.

    The content says which it is, not the ending. float64 stays float64, which MLX
    computes on the CPU alone: `array.astype(mx.float32, stream=mx.cpu)`.

    Raises:
        CheckpointError: if the file is damaged or holds anything but plain arrays.
        OSError: if the file cannot be read.
    """
    source = to_path(path)
    with open_file(source) as file:
        return _read(file, source)


def _read(file: IO[bytes], path: Path) -> dict[str, Any]:
    start = file.read(64)
    if start.startswith(b"PK"):
        return read_npz(Archive(file, path))
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return read_safetensors(file, path)
    for magic, kind in _OTHERS.items():
        if start.lstrip().startswith(magic):
            raise CheckpointError(path, f"is no checkpoint but {kind}")
    raise CheckpointError(path, "is no checkpoint: neither .npz nor .safetensors")
