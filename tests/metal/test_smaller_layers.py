"""Norms, pools and resampling have a small problem that launches what any call does."""

from __future__ import annotations

import itertools
import math
from typing import Any

from lucid.metal import norm, pooling, upsampling
from lucid.metal.guard import Guarded
from lucid.ops.axis_maps import Repeat, Sum
from lucid.ops.pooling import Adaptive, sliding
from lucid.ops.upsampling import area, linear, nearest
import mlx.core as mx
import pytest

slow = [pytest.mark.slow]
DTYPES = (mx.float32, mx.bfloat16)
CHANNELS = (1, 2, 3, 4, 7, 8, 12, 13, 30, 32, 1028)


def check(kernel: Guarded, *arguments: Any) -> None:
    """Nothing runs but the twin of what is drawn."""
    launched = kernel.launches(arguments)
    same = [p for p in kernel.smaller(*arguments) if kernel.launches(p) == launched]
    assert same, (kernel.name, launched)
    arrays = [x for x in same[0] if isinstance(x, mx.array)]
    assert all(x.size <= 2**20 for x in arrays)
    kernel.twin(*same[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("c", CHANNELS)
@pytest.mark.parametrize(
    "n", [pytest.param(n, marks=slow * (n != 3)) for n in (1, 2, 3, 64)]
)
def test_norms(n, c, dtype):
    few = mx.zeros((n, c))
    for voxels in (1, 2, 5, 17, 2**21):
        x = mx.zeros((n, voxels, c), dtype)
        for a, scale in ((None, None), (x, few)):
            check(norm.affine_kernel, a, scale, x, few, few, few)
            check(norm.sums_kernel, a, x, few, voxels)
            check(norm.sums_kernel, a, x, few, max(1, voxels // 8))


SIZES = [(1, 1, 1), (2, 1, 3), (1, 9, 1), (4, 6, 8), (64, 96, 128)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pools(size, dtype):
    kinds = [
        tuple(sliding(s, min(2, s), 2, 0, 1, True) for s in size),
        tuple(sliding(s, 3, 2, 1, 1, False) for s in size),
        tuple(Adaptive(s, max(s // 3, 1)) for s in size),
    ]
    for n, c, windows in itertools.product((1, 2, 9), CHANNELS, kinds):
        x = mx.zeros((n, *size, c), dtype)
        y = mx.zeros((n, *(along.outputs for along in windows), c), dtype)
        check(pooling.max_pool_kernel, x, windows)
        check(pooling.places_kernel, x, windows)
        place = y.astype(mx.int32)
        check(pooling.max_pool_gradient_kernel, y, place, windows, x.shape)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_resampling(size):
    kinds = [
        tuple(linear(s, 2 * s, 2.0, False) for s in size),
        tuple(nearest(s, max(s // 2, 1), None, False) for s in size),
        tuple(area(s, max(s // 3, 1)) for s in size),
        (Repeat(1), Repeat(3), Repeat(2)),
    ]
    if math.prod(size) > 9:
        kinds.append((Sum(2), Repeat(1), Sum(2)))
    for n, c, maps in itertools.product((1, 9), CHANNELS, kinds):
        check(upsampling.resample_kernel, mx.zeros((n, *size, c)), maps)
