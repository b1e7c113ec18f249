"""From the bytes of storages to the arrays that are views of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import math

from lucid._types import DTYPES
from lucid.files.arrays import BFLOAT16, memory_problem, to_mlx
from lucid.files.pytorch.values import RefusedError, Storage, Tensor
import mlx.core as mx
import numpy as np

_ITEMSIZES = {name: dtype.size for name, dtype in DTYPES.items()} | {"complex128": 16}
# Tensors that repeat their items, or overlap, may need this many times their storages.
_MOST_TIMES, _AND_BYTES = 4, 2**26


def storage_bytes(storage: Storage) -> int:
    return storage.items * _itemsize(storage)


def read_tensors(
    tensors: Iterable[Tensor],
    read: Callable[[str, int], np.ndarray],
    big_endian: bool = False,
) -> dict[Tensor, mx.array]:
    """The arrays of tensors; `read` gives a storage's bytes by key and length.

    Raises:
        RefusedError: if the tensors need more memory than there is, or many times
            what the file holds.
    """
    by_key: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        by_key.setdefault(tensor.storage.key, []).append(tensor)
    sizes = {key: storage_bytes(views[0].storage) for key, views in by_key.items()}
    held = sum(sizes.values())
    total = sum(_tensor_bytes(tensor) for views in by_key.values() for tensor in views)
    if total > _MOST_TIMES * held + _AND_BYTES:
        raise RefusedError(f"has {held} bytes, whose tensors unfold to {total}")
    problem = memory_problem(total, max(sizes.values(), default=0))
    if problem is not None:
        raise RefusedError(problem)
    arrays: dict[Tensor, mx.array] = {}
    for key, views in by_key.items():
        data = read(key, sizes[key])
        for tensor in views:
            arrays[tensor] = to_mlx(_view(data, tensor, big_endian))
    return arrays


def _view(data: np.ndarray, tensor: Tensor, big_endian: bool) -> np.ndarray:
    """The tensor's items, rows one after another."""
    name = {"bfloat16": "uint16", "bool": "uint8"}.get(tensor.dtype, tensor.dtype)
    dtype = np.dtype(name).newbyteorder(">" if big_endian else "<")
    if 0 in tensor.shape:
        items = np.empty(tensor.shape, dtype)
    else:
        start = tensor.storage.start * _itemsize(tensor.storage)
        start += tensor.offset * dtype.itemsize
        # The step along an axis of one item may be any number.
        strides = [
            step * dtype.itemsize if length > 1 else 0
            for length, step in zip(tensor.shape, tensor.strides, strict=True)
        ]
        items = np.ndarray(tensor.shape, dtype, data, start, strides)
    if tensor.conjugate:
        items = items.conjugate()
    if tensor.negative:
        items = -items
    items = np.require(items, dtype.newbyteorder("="), "C")
    if tensor.dtype == "bfloat16":
        return items.view(BFLOAT16)
    return items != 0 if tensor.dtype == "bool" else items


def _tensor_bytes(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * DTYPES[tensor.dtype].size


def _itemsize(storage: Storage) -> int:
    """Bytes of an item; of a byte, where the storage does not say what it holds."""
    return 1 if storage.dtype is None else _ITEMSIZES[storage.dtype]
