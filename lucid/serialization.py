"""State dicts on disk: `.npz` and `.safetensors`, plain arrays under dotted names.

Saving writes beside the target, syncs and renames, so that a crash leaves the old file
or the new one. Loading reads everything at once and never unpickles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import io
import json
import math
import os
from pathlib import Path
import secrets
import stat
from typing import IO, Any
import zipfile

from lucid._types import DTYPES, LONGEST, physical_memory, plain_numpy
import mlx.core as mx
import mlx.nn
from mlx.utils import tree_flatten
import numpy as np

# How MLX writes bfloat16 in .npy headers: two opaque bytes, which NumPy can carry.
_BFLOAT16 = np.dtype("V2")
_SAFETENSORS_BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2},
    **{"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "C64": 8},
}


class CheckpointError(ValueError):
    """A file that is damaged, or is not a checkpoint; says which entry."""

    def __init__(self, path: Path, problem: str, entry: str | None = None):
        where = f"{path}" if entry is None else f"{path}, entry {entry!r}"
        super().__init__(f"{where}: {problem}")


def save(state: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write arrays to an `.npz` or `.safetensors` file, or leave what was there.

    Args:
        state: a state dict; nested dicts and lists (an optimizer's state) are flattened
            to dotted names. MLX and NumPy arrays; bfloat16 stays bfloat16.
        path: the file; its suffix chooses the format. `np.load` and `mx.load` read it.

    Raises:
        TypeError: if `state` is not a dict of arrays, or holds float64 for safetensors.
        ValueError: for another suffix, or a name that the format cannot hold.
        OSError: if the file cannot be written.

    Example:
        >>> import lucid, lucid.nn as nn, tempfile, os
        >>> path = os.path.join(tempfile.mkdtemp(), "conv.npz")
        >>> lucid.save(nn.Conv3d(2, 3, 1).state_dict(), path)
        >>> sorted(lucid.load(path))
        ['bias', 'weight']
    """
    target = Path(os.path.realpath(os.fspath(path)))
    suffix = _suffix(Path(os.fspath(path)))
    arrays = _flatten(state)
    for name, array in arrays.items():
        if suffix == ".safetensors" and array.dtype == mx.float64:
            raise TypeError(f"`state[{name!r}]` is float64, which needs an .npz file.")
    mx.eval(list(arrays.values()))
    with _replacing(target) as (file, temporary):
        if suffix == ".npz":
            _write_npz(file, arrays)
        else:
            mx.save_safetensors(temporary, arrays)


def load(path: str | os.PathLike[str]) -> dict[str, mx.array]:
    """Read all arrays of an `.npz` or `.safetensors` file, by name.

    Raises:
        CheckpointError: if the file is damaged or holds anything but plain arrays.
        ValueError: for another suffix.
        OSError: if the file cannot be read.
    """
    source = Path(os.fspath(path))
    suffix = _suffix(source)
    with source.open("rb") as file:
        if suffix == ".npz":
            return _read_npz(file, source)
        _check_safetensors(file, source)
    try:
        arrays: Any = mx.load(str(source))
        mx.eval(list(arrays.values()))
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(source, f"damaged ({error})") from error
    return arrays


def _suffix(path: Path) -> str:
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"`path` (={str(path)!r}) must end in .npz or .safetensors.")
    return path.suffix


def _flatten(state: Any) -> dict[str, mx.array]:
    """Dotted names and MLX arrays, or a TypeError that names what is neither."""
    if not isinstance(state, Mapping) or isinstance(state, mlx.nn.Module):
        raise TypeError(
            f"`state` must be a dict of arrays, such as model.state_dict(), "
            f"got {type(state).__name__}."
        )
    arrays: dict[str, mx.array] = {}
    for name, value in tree_flatten(dict(state)):
        if isinstance(value, np.ndarray | np.generic) and value.dtype.name in DTYPES:
            value = _to_mlx(np.asarray(value))
        if not isinstance(value, mx.array):
            raise TypeError(f"`state[{name!r}]` is no array: {type(value).__name__}.")
        if name in arrays:
            raise ValueError(f"`state` has two entries called {name!r}.")
        if "\0" in name or name == "__metadata__" or not _fits_a_header(name):
            raise ValueError(f"`state` has a name that no file can hold: {name!r}.")
        arrays[name] = value
    return arrays


def _fits_a_header(name: str) -> bool:
    try:
        return len(name.encode()) < 2**16 - len(".npy")  # zip's bound
    except UnicodeEncodeError:  # a lone surrogate
        return False


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[tuple[IO[bytes], str]]:
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


def _write_npz(file: IO[bytes], arrays: Mapping[str, mx.array]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(
                f"{name}.npy"
            )  # a fixed date: equal bytes each time
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, _to_numpy(array), allow_pickle=False)


def _read_npz(file: IO[bytes], path: Path) -> dict[str, mx.array]:
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
    if array.dtype != _BFLOAT16 and array.dtype.name not in DTYPES:
        raise CheckpointError(path, f"dtype {array.dtype} is not MLX's", entry)
    return _to_mlx(array)


def _to_numpy(array: mx.array) -> np.ndarray:
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16)).view(_BFLOAT16)
    return np.array(array)


def _to_mlx(array: np.ndarray) -> mx.array:
    """The same numbers and dtype; MLX alone would turn float64 into float32."""
    if array.dtype == _BFLOAT16:
        bits = np.require(array, requirements="C").view(np.uint16)
        return mx.array(bits).view(mx.bfloat16)
    return mx.array(plain_numpy("array", array), DTYPES[array.dtype.name])


def _check_safetensors(file: IO[bytes], path: Path) -> None:
    """Refuse a header that does not describe the file (format: u64, JSON, data)."""
    total = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if total < 8 or length > total - 8:
        raise CheckpointError(path, "the header is longer than the file")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"the header is damaged ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError(path, "the header is not a JSON object")
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if not _describes(entry):
            raise CheckpointError(path, f"is not described soundly: {entry!r}", name)
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        if start != end or stop > total - 8 - length:
            raise CheckpointError(
                path, "overlaps, leaves a hole or runs past the end", name
            )
        end = stop
    if end != total - 8 - length:
        raise CheckpointError(path, "has bytes after its last entry")


def _describes(entry: Any) -> bool:
    """Whether dtype, shape and offsets agree with each other."""
    if not isinstance(entry, dict):
        return False
    itemsize = _SAFETENSORS_BYTES.get(str(entry.get("dtype")))
    shape, offsets = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if itemsize is None or shape is None or offsets is None or len(offsets) != 2:
        return False
    start, stop = offsets
    fits = stop - start == math.prod(shape) * itemsize
    return fits and all(length <= LONGEST for length in shape)


def _sizes(value: Any) -> list[int] | None:
    """A list of whole numbers from 0 on, or None."""
    sound = isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
    return value if sound else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)
