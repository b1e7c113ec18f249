"""The kernels of max pooling, run in the emulator, against NumPy."""

from __future__ import annotations

import itertools
import math
from typing import Any

from lucid.metal import pooling
import lucid.nn.functional as F
from lucid.ops.pooling import Adaptive, sliding
import mlx.core as mx
import numpy as np
import pytest

from tests.metal.planted import planted_bug
from tests.metal_emulator import emulated_metal
from tests.metal_emulator.sanitize import needs_sanitizers, sanitizer_report
from tests.oracle import uniform
from tests.oracle.tolerances import as_float64, assert_close

DTYPES = (mx.float32, mx.float16, mx.bfloat16)
slow = [pytest.mark.slow]
SIZE = (4, 5, 7)
# kernel, stride, padding, dilation, ceil_mode
SLIDING: dict[str, Any] = {
    "2": (2, 2, 0, 1, False),
    "3, stride 2, padded": (3, 2, 1, 1, False),
    "3, stride 1": (3, 1, 1, 1, False),
    "dilated": (2, 1, 1, 3, False),
    "up": (3, 2, 0, 1, True),
    "gaps": (1, 3, 0, 1, True),
}
WINDOWS: dict[str, Any] = {
    **{
        name: tuple(sliding(n, *options) for n in SIZE)
        for name, options in SLIDING.items()
    },
    "adaptive": tuple(map(Adaptive, SIZE, (3, 7, 2))),
}


def taps(along: Any, output: int) -> list[int]:
    """The voxels of a window."""
    start, stop = (int(bound[output]) for bound in along.spans())
    return [i for i in range(start, stop, along.dilation) if i >= 0]


def numpy_places(x: np.ndarray, windows: Any) -> np.ndarray:
    """The first of the largest of each window, the last of its NaNs, or -1."""
    n, *size, c = x.shape
    outputs = [along.outputs for along in windows]
    places = np.full((n, *outputs, c), -1)
    for at in np.ndindex(n, *outputs, c):
        largest = -math.inf
        of_axes = [taps(along, i) for along, i in zip(windows, at[1:4], strict=True)]
        for voxel in itertools.product(*of_axes):
            value = x[(at[0], *voxel, at[4])]
            if value > largest or np.isnan(value) or places[at] < 0:
                largest = value
                places[at] = np.ravel_multi_index(voxel, size)
    return places


def check_kernels(name: str, channels: int, dtype: mx.Dtype) -> Any:
    """All three, on volumes of few values; returns what was launched."""
    rng, windows = np.random.default_rng(0), WINDOWS[name]
    x = rng.integers(0, 4, (2, *SIZE, channels)).astype(np.float32)
    x[rng.uniform(size=x.shape) < 0.05] = np.nan
    x[rng.uniform(size=x.shape) < 0.05] = -np.inf
    x[0, :3, :3, :3] = -np.inf  # whole windows
    place = numpy_places(x, windows)
    n, c = 2, channels
    flat, at = x.reshape(n, -1, c), place.reshape(n, -1, c)
    largest = np.where(at < 0, -np.inf, np.take_along_axis(flat, np.maximum(at, 0), 1))
    volumes = mx.array(x).astype(dtype)
    dy = mx.array(uniform(rng, place.shape)).astype(dtype)
    dx = np.zeros(flat.shape)
    for i, j in itertools.product(range(n), range(c)):
        named = at[i, :, j] >= 0
        given = as_float64(dy).reshape(n, -1, c)[i, named, j]
        np.add.at(dx[i, :, j], at[i, named, j], given)
    with emulated_metal() as emulation:
        y = pooling.max_pool_kernel(volumes, windows)
        places = pooling.places_kernel(volumes, windows)
        back = pooling.max_pool_gradient_kernel(dy, places, windows, x.shape)
    np.testing.assert_array_equal(as_float64(y), largest.reshape(place.shape))
    np.testing.assert_array_equal(np.array(places), place)
    assert_close(back, dx.reshape(x.shape), "gradient", dtype)
    assert y.dtype == back.dtype == dtype
    return emulation


@pytest.mark.parametrize(
    ("name", "channels", "dtype"),
    [
        pytest.param(name, channels, dtype, marks=slow * (i != 9))
        for i, (name, channels, dtype) in enumerate(
            itertools.product(WINDOWS, (4, 3), DTYPES)
        )
    ],
    ids=str,
)
def test_kernels_equal_numpy(name, channels, dtype):
    emulation = check_kernels(name, channels, dtype)
    assert emulation.names == ["max_pool", "max_pool", "max_pool_gradient"]
    assert emulation.type_errors() == []


@pytest.mark.parametrize("name", WINDOWS)
def test_twins_equal_numpy(name):
    rng, windows = np.random.default_rng(0), WINDOWS[name]
    x = rng.integers(0, 4, (2, *SIZE, 3)).astype(np.float32)
    place = numpy_places(x, windows)
    places = pooling.places_ops(mx.array(x), windows)
    np.testing.assert_array_equal(np.array(places), place)
    dy = mx.array(uniform(rng, place.shape))
    dx = np.zeros((2, math.prod(SIZE), 3))
    for i, output, j in np.ndindex(2, math.prod(place.shape[1:4]), 3):
        at = place.reshape(2, -1, 3)[i, output, j]
        dx[i, at, j] += as_float64(dy).reshape(2, -1, 3)[i, output, j] if at >= 0 else 0
    back = pooling.max_pool_gradient_ops(dy, places, windows, x.shape)
    assert_close(back, dx.reshape(x.shape), "gradient")


@pytest.mark.slow
@needs_sanitizers
def test_kernels_are_clean_under_the_sanitizers():
    emulations = [
        check_kernels(name, 3 + i % 2, DTYPES[i % 3]) for i, name in enumerate(WINDOWS)
    ]
    launches = [one for every in emulations for one in every.launches]
    assert sanitizer_report([(one.kernel, one.inputs) for one in launches]) == ""


FUNCTIONS = {
    "2": lambda x: F.max_pool3d(x, 2),
    "3, stride 2, padded": lambda x: F.max_pool3d(x, 3, 2, 1),
    "adaptive": lambda x: F.adaptive_max_pool3d(x, (2, 5, 3)),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=slow * ("3" not in name)) for name in FUNCTIONS],
)
def test_functions_and_their_derivatives_run_by_kernel(name):
    function, rng = FUNCTIONS[name], np.random.default_rng(0)
    x = mx.array(rng.integers(1, 5, (2, 4, *SIZE)).astype(np.float32))
    tangent = mx.array(uniform(rng, x.shape))

    def slope(x: mx.array) -> mx.array:
        return mx.grad(lambda x: (function(x) ** 3).sum())(x).square().sum()

    want = [function(x), mx.grad(slope)(x)]
    with emulated_metal() as emulation:
        got = [function(x), mx.grad(slope)(x)]
        _, (moved,) = mx.jvp(lambda x: [function(x)], [x], [tangent])
        _, (back,) = mx.vjp(lambda x: [function(x)], [x], [mx.ones(moved.shape)])
        mx.eval(got, moved, back)
    assert set(emulation.names) == {"max_pool", "max_pool_gradient"}
    assert emulation.twins == []
    for a, b in zip(got, want, strict=True):
        assert_close(a, as_float64(b), name)
    # <dy, J t> = <J' dy, t>
    assert moved.sum().item() == pytest.approx((back * tangent).sum().item(), rel=1e-5)


def test_indices_are_those_of_the_kernel():
    x = mx.random.normal((2, 4, *SIZE))
    want = F.max_pool3d(x, 3, 2, 1, return_indices=True)
    with emulated_metal() as emulation:
        got = F.max_pool3d(x, 3, 2, 1, return_indices=True)
    assert emulation.names == ["max_pool", "max_pool"]
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        assert mx.array_equal(a, b)


def test_what_the_kernels_are_not_for():
    """Empty batches, windows of many voxels."""
    x = mx.random.normal((1, 2, 9, 9, 9))
    cases = [lambda: F.max_pool3d(x[:0], 2), lambda: F.adaptive_max_pool3d(x, 1)]
    for call in cases:
        want = call()
        with emulated_metal() as emulation:
            assert mx.array_equal(call(), want)
        assert emulation.names == []


def test_volumes_whose_places_32_bits_do_not_count_are_refused():
    pairs = tuple(sliding(2048, 2, 2, 0, 1, False) for _ in range(3))
    long = (*pairs[:2], sliding(2**20, 2, 2, 0, 1, False))
    assert pooling.fits((8, 1024, 1024, 1024, 64), pairs)
    assert not pooling.fits((1, 2048, 2048, 1024, 1), pairs)
    assert not pooling.fits((1, 2, 2, 2**20, 4096), long)


KERNELS = ("max_pool", "max_pool_gradient")
MUTANTS = [
    ("max_pool", "value > largest[j]", "value >= largest[j]"),
    ("max_pool", "|| metal::isnan(value)", ""),
    ("max_pool", "|| place[j] < 0", ""),
    ("max_pool", "stop[OD + oh]", "stop[OD + oh] - 1"),
    ("max_pool", "w += step[2]", "w += step[2] + 1"),
    ("max_pool", "(d * H + h) * W + w", "(d * W + h) * W + w"),
    ("max_pool", "n * D + d", "d"),
    ("max_pool_gradient", "od <= last[d]", "od < last[d]"),
    ("max_pool_gradient", "first[D + H + w]", "first[D + H + w] + 1"),
    ("max_pool_gradient", "place[at + j]", "place[at]"),
    ("max_pool_gradient", "plane - n * D", "plane"),
]


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [pytest.param(*bug, marks=slow * (i % 9 > 0)) for i, bug in enumerate(MUTANTS)],
    ids=str,
)
def test_a_planted_bug_is_caught(monkeypatch, file, right, wrong):
    """By a wrong number or by what the emulator reports."""
    bug = planted_bug(monkeypatch, KERNELS, file, right, wrong)
    with bug, pytest.raises((AssertionError, RuntimeError)):
        check_kernels("3, stride 2, padded", 4, mx.float32)
