"""`.npz`: a zip archive of arrays. Reading never unpickles."""

from __future__ import annotations

from collections.abc import Mapping
import io
import os
from pathlib import Path
from typing import IO
import zipfile

from lucid._types import DTYPES, physical_memory
from lucid.files.arrays import BFLOAT16, to_mlx, to_numpy
from lucid.files.error import CheckpointError
import mlx.core as mx
import numpy as np


def write_npz(file: IO[bytes], arrays: Mapping[str, mx.array]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(
                f"{name}.npy"
            )  # a fixed date: equal bytes each time
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, to_numpy(array), allow_pickle=False)


def read_npz(file: IO[bytes], path: Path) -> dict[str, mx.array]:
    arrays: dict[str, mx.array] = {}
    entry = None
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if sum(info.file_size for info in entries) > physical_memory():
                raise CheckpointError(path, "claims to be larger than memory")
            if _declared_entries(file, archive) not in (len(entries), 0xFFFF):
                raise CheckpointError(path, "has lost entries")
            for info in entries:
                entry = info.filename
                name = entry.removesuffix(".npy")
                if name == entry or name in arrays:
                    raise CheckpointError(path, "not an array, or there twice", entry)
                arrays[name] = _parse_npy(archive.read(info), path, entry)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile and NumPy raise many kinds
        raise CheckpointError(path, f"damaged ({error!r})", entry) from error
    return arrays


def _declared_entries(file: IO[bytes], archive: zipfile.ZipFile) -> int:
    """The count in the end record, which zipfile does not compare; 65535 for more."""
    file.seek(-22 - len(archive.comment), os.SEEK_END)
    return int.from_bytes(file.read(22)[10:12], "little")


def _parse_npy(data: bytes, path: Path, entry: str) -> mx.array:
    stream = io.BytesIO(data)
    array = np.lib.format.read_array(stream, allow_pickle=False)
    if stream.read(1):
        raise CheckpointError(path, "has bytes after its array", entry)
    if array.dtype != BFLOAT16 and array.dtype.name not in DTYPES:
        raise CheckpointError(path, f"dtype {array.dtype} is not MLX's", entry)
    return to_mlx(array)
