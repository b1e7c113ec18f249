"""State dicts to disk: plain arrays under dotted names."""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
from typing import Any

from lucid._types import DTYPES, check_allocatable
from lucid.files.arrays import MOST_AXES, to_mlx
from lucid.files.atomic import replacing
from lucid.files.npz import write_npz
from lucid.files.paths import replaceable, to_path
from lucid.files.safetensors import write_safetensors
import mlx.core as mx
import mlx.nn
from mlx.utils import tree_flatten
import numpy as np


def save(state: Mapping[str, Any], path: str | bytes | os.PathLike[Any]) -> None:
    """Write arrays to an `.npz` or `.safetensors` file.

    If writing fails, an existing file is left as it was.

    Args:
        state: a state dict; nested dicts and lists (an optimizer's state) are flattened
            to dotted names. MLX and NumPy arrays; bfloat16 stays bfloat16.
        path: the file; its suffix chooses the format. `np.load` and `mx.load` read it.

    Raises:
        TypeError: if `state` is not a dict of arrays, or has float64 for safetensors.
        ValueError: for another suffix, or a name that the format does not allow.
        OSError: if the file cannot be written.

    Example:
        >>> import lucid, lucid.nn as nn, tempfile, os
        >>> path = os.path.join(tempfile.mkdtemp(), "conv.npz")
        >>> lucid.save(nn.Conv3d(2, 3, 1).state_dict(), path)
        >>> sorted(lucid.load(path))
        ['bias', 'weight']
    """
    given = to_path(path)
    suffix = _suffix(given)
    arrays = _flatten(state)
    for name, array in arrays.items():
        if suffix == ".safetensors" and array.dtype == mx.float64:
            raise TypeError(f"`state[{name!r}]` is float64, which needs an .npz file.")
    mx.eval(list(arrays.values()))
    write = write_npz if suffix == ".npz" else write_safetensors
    with replacing(replaceable(given)) as file:
        write(file, arrays)


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
    try:
        entries = tree_flatten(dict(state))
    except RecursionError:
        raise ValueError("`state` is nested too deep, or contains itself.") from None
    for name, value in entries:
        if isinstance(value, np.ndarray | np.generic) and value.dtype.name in DTYPES:
            value = to_mlx(np.asarray(value))
        if not isinstance(value, mx.array):
            hint = "; mx.array makes one" if isinstance(value, int | float) else ""
            raise TypeError(
                f"`state[{name!r}]` is no array: {type(value).__name__}{hint}."
            )
        if value.ndim > MOST_AXES:
            raise ValueError(
                f"`state[{name!r}]` has {value.ndim} axes, a file at most {MOST_AXES}."
            )
        check_allocatable(f"`state[{name!r}]`", value.shape, value.itemsize)
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
