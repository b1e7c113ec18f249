"""What the archives in tests/data/checkpoints hold; `make.py` there writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

CHECKPOINTS = Path(__file__).parents[2] / "data" / "checkpoints"
DTYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64"),
)
STATE: dict[str, np.ndarray] = {
    **{f"layer.{dtype}": np.arange(6).reshape(2, 3).astype(dtype) for dtype in DTYPES},
    "weight": np.linspace(-1, 1, 48, dtype=np.float32).reshape(2, 3, 2, 2, 2),
    "num_batches_tracked": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
}
BFLOAT16 = [1.0, -2.5, 3.0]

_BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
VIEWS: dict[str, np.ndarray] = {
    "base": _BASE,
    "row": _BASE[2],
    "column": _BASE[:, 1],
    "transposed": _BASE.T,
    "every second": _BASE[::2, 1::3],
    "expanded": np.broadcast_to(_BASE[:, :1], (4, 5)),
    "same": _BASE,
}
# As `torch.jit.load(...).state_dict()` names and orders them.
_SCRIPT_SHAPES = {
    "scale": (2,),
    "layers.0.weight": (2, 1, 1, 1, 1),
    "layers.0.bias": (2,),
    "layers.1.weight": (2,),
    "layers.1.bias": (2,),
    "layers.1.running_mean": (2,),
    "layers.1.running_var": (2,),
    "layers.1.num_batches_tracked": (),
}
SCRIPT: dict[str, np.ndarray] = {
    name: np.array(
        np.arange(np.prod(shape)).reshape(shape) + 10 * i,
        np.float32 if shape else np.int64,
    )
    for i, (name, shape) in enumerate(_SCRIPT_SHAPES.items())
}

PLANS = {
    "spacing": [1.0, 0.5, 0.5],
    "axes": (0, 1, 2),
    "none": None,
    "flags": {"deep": True, "mirror": False},
    "name": "größe",
    "large": 2**40,
    "negative": -3,
}


def checkpoint(name: str) -> bytes:
    return (CHECKPOINTS / name).read_bytes()


def assert_same(got: Any, want: np.ndarray) -> None:
    """The same numbers, shape and dtype."""
    assert isinstance(got, mx.array)
    assert str(got.dtype) == f"mlx.core.{want.dtype}"
    np.testing.assert_array_equal(np.array(got), want)
    assert got.shape == want.shape
