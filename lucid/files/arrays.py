"""Between MLX's arrays and NumPy's: the same numbers, the same dtype."""

from __future__ import annotations

from lucid._types import DTYPES, plain_numpy
import mlx.core as mx
import numpy as np

# How MLX writes bfloat16 in .npy headers: two opaque bytes, which NumPy can carry.
BFLOAT16 = np.dtype("V2")


def to_numpy(array: mx.array) -> np.ndarray:
    if array.dtype == mx.bfloat16:
        return np.array(array.view(mx.uint16)).view(BFLOAT16)
    return np.array(array)


def to_mlx(array: np.ndarray) -> mx.array:
    """The same numbers and dtype; MLX alone would turn float64 into float32."""
    if array.dtype == BFLOAT16:
        bits = np.require(array, requirements="C").view(np.uint16)
        return mx.array(bits).view(mx.bfloat16)
    return mx.array(plain_numpy("array", array), DTYPES[array.dtype.name])
