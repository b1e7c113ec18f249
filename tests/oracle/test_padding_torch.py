"""`F.pad` against PyTorch's: every dtype's values, crops beside padding."""

from __future__ import annotations

import itertools
from typing import Any

import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest
import torch

DTYPES = (
    *("uint8", "int8", "int16", "int32", "int64", "bool"),
    *("float16", "bfloat16", "float32", "complex64"),
)
VALUES: list[Any] = [
    *(None, 0, 1, True, -1, 127, 128, 255, 256, -129, 2**24 + 1, 2**31 - 1, 2**31),
    *(2.0, 70000.0, 65504, 1e300, -1e39, float("inf"), float("nan")),
]
MODES = ("constant", "reflect", "replicate", "circular")


def mlx_dtype(name: str) -> mx.Dtype:
    return getattr(mx, "bool_" if name == "bool" else name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_are_pytorchs_in_every_dtype(value: Any, dtype: str):
    if dtype == "bool" and value not in (None, 0, 1):
        return  # PyTorch takes any other number for True; Lucid refuses it
    x = torch.zeros(2, dtype=getattr(torch, dtype))
    try:
        want = torch.nn.functional.pad(x, (1, 2), value=value).tolist()
    except RuntimeError:
        with pytest.raises(ValueError, match="`value`"):
            F.pad(mx.zeros(2, mlx_dtype(dtype)), (1, 2), value=value)
        return
    got = F.pad(mx.zeros(2, mlx_dtype(dtype)), (1, 2), value=value)
    assert got.dtype == mlx_dtype(dtype)
    np.testing.assert_equal(got.tolist(), want)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_crops_beside_padding_are_pytorchs(mode: str, size: int):
    x = np.arange(1, 2 * size + 1, dtype=np.float32).reshape(1, 2, size)
    for pad in itertools.product(range(-size - 2, size + 3), repeat=2):
        left = size + sum(min(side, 0) for side in pad)
        if mode == "circular" and min(pad) < 0 and left < max(1, *pad):
            continue  # PyTorch reads memory that nobody wrote
        try:
            want = torch.nn.functional.pad(torch.tensor(x), pad, mode).tolist()
        except (RuntimeError, ValueError):
            with pytest.raises(ValueError, match="`pad`"):
                F.pad(mx.array(x), pad, mode)
            continue
        assert F.pad(mx.array(x), pad, mode).tolist() == want, pad
