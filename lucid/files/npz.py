"""`.npz`: a zip archive of `.npy` entries. Reading never unpickles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO
import zipfile

from lucid._types import DTYPES
from lucid.files.archive import Archive
from lucid.files.arrays import (
    BFLOAT16,
    memory_problem,
    read_array,
    shape_problem,
    to_numpy,
)
from lucid.files.entry import Entry, EntryReader
from lucid.files.error import CheckpointError
import mlx.core as mx
import numpy as np

_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def write_npz(file: IO[bytes], arrays: Mapping[str, mx.array]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            # A fixed date: equal bytes each time.
            entry = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, to_numpy(array), allow_pickle=False)


def read_npz(archive: Archive) -> dict[str, mx.array]:
    """The arrays by name.

    Raises:
        CheckpointError: if an entry is damaged, or no array of MLX's.
    """
    sizes = [entry.size for entry in archive.entries.values()]
    problem = memory_problem(sum(sizes), max(sizes, default=0))
    if problem is not None:
        raise CheckpointError(archive.path, problem)
    for name in archive.entries:
        if not name.endswith(".npy"):
            raise CheckpointError(archive.path, "is not an array", name)
    return {
        name.removesuffix(".npy"): _read_npy(archive, entry)
        for name, entry in archive.entries.items()
    }


def _read_npy(archive: Archive, entry: Entry) -> mx.array:
    stream = archive.open(entry)
    try:
        shape, fortran_order, dtype = _read_header(stream)
        problem = shape_problem(shape, dtype.itemsize, stream.left)
        if dtype != BFLOAT16 and dtype.name not in DTYPES:
            problem = f"dtype {dtype} is not MLX's"
        if problem is not None:
            raise CheckpointError(archive.path, problem, entry.name)
        array = read_array(stream.fill, dtype, shape, fortran_order)
        stream.finish()
    except CheckpointError:
        raise
    except MemoryError:
        problem = "is larger than the memory that is left"
        raise CheckpointError(archive.path, problem, entry.name) from None
    except Exception as error:  # NumPy raises many kinds for a header
        problem = f"damaged ({error!r})"
        raise CheckpointError(archive.path, problem, entry.name) from error
    return array


def _read_header(stream: EntryReader) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype, of which only the syntax is checked."""
    version = np.lib.format.read_magic(stream)
    if version not in _READ_HEADER:
        raise ValueError(f"version {version} of the format")
    return _READ_HEADER[version](stream)
