"""What the tests of files share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lucid
import mlx.core as mx
import pytest

NPZ, SAFETENSORS = ".npz", ".safetensors"
STATE = {
    "w": mx.array([1.5, -2.0, float("inf")]),
    "bias": mx.array([5.0, 6.0], mx.bfloat16),
}


def assert_equal(got: dict[str, mx.array], want: dict[str, Any]):
    assert set(got) == set(want)
    for name, array in want.items():
        assert got[name].dtype == array.dtype, name
        assert got[name].shape == array.shape, name
        assert bool(mx.array_equal(got[name], array, equal_nan=True)), name


def refused(path: Path, data: bytes, *words: str):
    path.write_bytes(data)
    with pytest.raises(lucid.CheckpointError) as error:
        lucid.load(path)
    for word in (str(path), *words):
        assert word in str(error.value)


def flips(data: bytes):
    for i, byte in enumerate(data):
        for other in {0, 255, byte ^ 1, byte ^ 32} - {byte}:
            yield data[:i] + bytes([other]) + data[i + 1 :]


def fail(*_: Any, **__: Any):
    raise OSError("disk full")
