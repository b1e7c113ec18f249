"""Any file that Lucid reads, known by its content; nothing in it is ever executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

from lucid._types import one_of
from lucid.files.archive import Archive
from lucid.files.error import CheckpointError
from lucid.files.npz import read_npz
from lucid.files.paths import open_file, to_path
from lucid.files.pytorch import (
    MAGIC_BYTES,
    is_script,
    read_legacy,
    read_script,
    read_zip,
    torch_folder,
)
from lucid.files.safetensors import read_safetensors

# What files begin with that are taken for checkpoints.
_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer; `git lfs pull` fetches the file",
    b"<": "a web page or XML",
    b"\x1f\x8b": "compressed by gzip",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a single NumPy array; `np.load` reads it",
    b"\x80": "a pickle that `torch.save` did not write",
}


def load(
    path: str | bytes | os.PathLike[Any], *, unknown: str = "error"
) -> dict[str, Any]:
    """Read a file of arrays: `.npz`, `.safetensors` or a checkpoint of PyTorch's.

    The format is recognized by the content, not by the suffix. PyTorch is not needed,
    and nothing in the file is executed. A checkpoint gives what was saved (mostly a
    dict, flat or nested) in plain containers: arrays for tensors and NumPy arrays,
    Python numbers for NumPy scalars, names for `torch.dtype` and `torch.device`, tuples
    for `torch.Size`. A TorchScript archive gives its state dict.

    dtypes are kept. MLX computes float64 on the CPU only; to convert:
    `array.astype(mx.float32, stream=mx.cpu)`.

    Args:
        path: the file.
        unknown: what to do with other classes in a PyTorch checkpoint: `"error"`, or
            `"skip"` to put a `lucid.files.Placeholder` in their place.

    Raises:
        CheckpointError: if the file is damaged, or contains what is not supported.
        ValueError: if `unknown` is neither of these.
        OSError: if the file cannot be read.

    Example:
        >>> import lucid
        >>> checkpoint = lucid.load("checkpoint_final.pth")         # doctest: +SKIP
        >>> model.load_state_dict(checkpoint["network_weights"])    # doctest: +SKIP
    """
    one_of("unknown", unknown, ("error", "skip"))
    source = to_path(path)
    with open_file(source) as file:
        try:
            return _read(file, source, unknown)
        except MemoryError:
            problem = "is larger than the memory that is left"
            raise CheckpointError(source, problem) from None


def _read(file: IO[bytes], path: Path, unknown: str) -> Any:
    start = file.read(64)
    if start.startswith(b"PK"):
        archive = Archive(file, path)
        folder = torch_folder(archive)
        if any(name.endswith("models/model.json") for name in archive.entries):
            raise archive.refuse("is a program of `torch.export`, not a checkpoint")
        if folder is None:
            return read_npz(archive)
        if is_script(archive, folder):
            return read_script(archive, folder, unknown)
        return read_zip(archive, folder, unknown)
    if start.startswith(b"\x80") and MAGIC_BYTES in start:
        return read_legacy(file, path, unknown)
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return read_safetensors(file, path)
    for magic, kind in _OTHERS.items():
        if start.lstrip().startswith(magic):
            raise CheckpointError(path, f"is no checkpoint but {kind}")
    raise CheckpointError(
        path, "is no checkpoint: neither .npz nor .safetensors nor PyTorch's"
    )
