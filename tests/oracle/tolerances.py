"""How close is close enough, for each dtype, and why."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

FLOAT32 = 2e-5
"""Bound on max|a - b| / max|b| against float64, for outputs and every gradient.

A float32 sum of n products of one sign is off by about sqrt(n) * 6e-8, at worst by
n * 6e-8; the kernels and volumes of the tests stay below 1e-5 on any BLAS. A sum that
cancels has no such bound in any library, so inputs and cotangents are drawn from
[0.5, 1.5] wherever a tensor may have a single element.
"""

RELATIVE = {
    mx.float32: FLOAT32,
    # Half types accumulate in float32 and are rounded once: half a unit in the last
    # of bfloat16's 8 significant bits and float16's 11.
    mx.bfloat16: 2**-8 + FLOAT32,
    mx.float16: 2**-11 + FLOAT32,
}

NATIVE_LOSS = 2
"""How many times mx.conv3d's own loss a half type may lose against float32."""


def as_float64(x: mx.array | np.ndarray) -> np.ndarray:
    """Exactly the same values; NumPy has no bfloat16, so by way of float32."""
    if isinstance(x, mx.array):
        x = np.array(x.astype(mx.float32))
    return np.asarray(x, np.float64)


def distance(got: mx.array | np.ndarray, want: mx.array | np.ndarray) -> float:
    """max|got - want| / max|want|; 0 for two empty tensors."""
    a, b = as_float64(got), as_float64(want)
    assert a.shape == b.shape, f"shape {a.shape}, expected {b.shape}"
    difference = np.abs(a - b).max(initial=0)
    return float(difference / np.abs(b).max()) if difference else 0.0


def assert_close(
    got: mx.array | np.ndarray,
    want: mx.array | np.ndarray,
    name: str,
    dtype: mx.Dtype = mx.float32,
) -> None:
    """`got` is within the dtype's tolerance of `want`, a NaN being never close."""
    off = distance(got, want)
    bound = RELATIVE[dtype]
    assert off <= bound, f"{name} is off by {off:.2e}, more than {bound:.0e}"
