"""The kernel of resampling, run in the emulator, against float64 NumPy."""

from __future__ import annotations

import itertools
from typing import Any

from lucid.metal import upsampling
import lucid.nn.functional as F
from lucid.ops.axis_maps import Repeat
from lucid.ops.upsampling import area, linear, nearest
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
SIZE = (3, 5, 4)
MAPS: dict[str, Any] = {
    "trilinear x2": [linear(n, 2 * n, 2.0, False) for n in SIZE],
    "corners": [linear(n, 2 * n - 1, None, True) for n in SIZE],
    "nearest x2": [nearest(n, 2 * n, 2.0, False) for n in SIZE],
    "nearest": [nearest(n, 2 * n - 3, None, False) for n in SIZE],
    "area": [area(n, max(n // 2, 1)) for n in SIZE],
    "one axis each": [Repeat(1), linear(5, 7, None, False), area(4, 3)],
}


def matrix(size: int, of_axis: Any) -> np.ndarray:
    """(outputs, size): what an axis does, by what it does to each voxel."""
    one = np.eye(size, dtype=np.float32)
    return as_float64(of_axis(mx.array(one), 0))


def check_kernel(name: str, channels: int, dtype: mx.Dtype) -> Any:
    """Forward and adjoint; returns what was launched."""
    rng, maps = np.random.default_rng(0), tuple(MAPS[name])
    matrices = [matrix(n, of_axis) for n, of_axis in zip(SIZE, maps, strict=True)]
    x = mx.array(uniform(rng, (2, *SIZE, channels))).astype(dtype)
    y = np.einsum("ndhwc,ad,bh,ew->nabec", as_float64(x), *matrices)
    dy = mx.array(uniform(rng, y.shape)).astype(dtype)
    dx = np.einsum("nabec,ad,bh,ew->ndhwc", as_float64(dy), *matrices)
    transposed = tuple(of_axis.transposed for of_axis in maps)
    with emulated_metal() as emulation:
        got = upsampling.resample_kernel(x, maps)
        back = upsampling.resample_kernel(dy, transposed)
    assert_close(got, y, "output", dtype)
    assert_close(back, dx, "gradient", dtype)
    assert got.dtype == back.dtype == dtype
    return emulation


@pytest.mark.parametrize(
    ("name", "channels", "dtype"),
    [
        pytest.param(name, channels, dtype, marks=slow * (i not in (0, 40)))
        for i, (name, channels, dtype) in enumerate(
            itertools.product(MAPS, (8, 3, 1), DTYPES)
        )
    ],
    ids=str,
)
def test_kernel_equals_numpy(name, channels, dtype):
    emulation = check_kernel(name, channels, dtype)
    assert emulation.names == ["resample", "resample"]
    assert emulation.type_errors() == []


@pytest.mark.slow
@needs_sanitizers
def test_kernel_is_clean_under_the_sanitizers():
    emulations = [
        check_kernel(name, 1 + 3 * (i % 2), DTYPES[i % 3])
        for i, name in enumerate(MAPS)
    ]
    launches = [one for every in emulations for one in every.launches]
    assert sanitizer_report([(one.kernel, one.inputs) for one in launches]) == ""


def trilinear(x: mx.array) -> mx.array:
    return F.interpolate(x, scale_factor=2, mode="trilinear")


FUNCTIONS = {
    "trilinear": trilinear,
    "corners": lambda x: F.interpolate(
        x, size=(5, 4, 7), mode="trilinear", align_corners=True
    ),
    "nearest": lambda x: F.interpolate(x, scale_factor=(2, 3, 1)),
    "mean": lambda x: F.avg_pool3d(x, 2),
    "mean, padded": lambda x: F.avg_pool3d(x, 3, 2, 1, True, False),
    "mean, divided": lambda x: F.avg_pool3d(x, (1, 2, 3), divisor_override=5),
    "adaptive mean": lambda x: F.adaptive_avg_pool3d(x, (2, 3, 4)),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=slow * (name not in ("trilinear", "mean, padded")))
        for name in FUNCTIONS
    ],
)
def test_functions_and_their_derivatives_run_by_kernel(name):
    function = FUNCTIONS[name]
    x = mx.array(uniform(np.random.default_rng(0), (2, 4, 3, 5, 6)))

    def slope(x: mx.array) -> mx.array:
        first = mx.grad(lambda x: (function(x) ** 3).sum())(x)
        return first.square().sum()

    tangent = mx.array(uniform(np.random.default_rng(1), x.shape))

    def all_of(x: mx.array) -> list[mx.array]:
        _, moved = mx.jvp(lambda x: [function(x)], [x], [tangent])
        return [function(x), *moved, mx.grad(slope)(x)]

    want = all_of(x)
    with emulated_metal() as emulation:
        got = all_of(x)
        mx.eval(got)
    assert set(emulation.names) == {"resample"}
    assert emulation.twins == []
    for a, b in zip(got, want, strict=True):
        assert_close(a, as_float64(b), name)


def test_what_the_kernel_is_not_for():
    """Labels, empty batches, windows of many voxels, nothing to do."""
    x = mx.random.normal((1, 2, 6, 6, 6))
    cases = [
        lambda: F.interpolate(x.astype(mx.int32), scale_factor=2),
        lambda: trilinear(x[:0]),
        lambda: F.adaptive_avg_pool3d(x, 1),
        lambda: F.interpolate(x, scale_factor=1),
    ]
    for call in cases:
        want = call()
        with emulated_metal() as emulation:
            got = call()
        assert emulation.names == []
        assert mx.allclose(got, want)


def test_infinity_stays_where_it_is():
    """A tap of weight 0 is not read: 0 times infinity would be no number."""
    x = mx.ones((1, 4, 4, 4, 4))
    x[0, 0, 2, 2, 2] = np.inf
    with emulated_metal():
        gradient = mx.vjp(
            lambda x: [F.avg_pool3d(x, 3, 2, 1)], [x], [x[..., :2, :2, :2]]
        )
    assert not mx.any(mx.isnan(gradient[1][0]))


def test_rows_that_32_bits_do_not_count_are_refused():
    three = (Repeat(2), Repeat(2), Repeat(2))
    assert upsampling.fits((8, 1024, 1024, 1024, 64), three)
    assert not upsampling.fits((1, 2, 2, 2**20, 1024), three)


KERNELS = ("resample",)
MUTANTS = [
    ("resample", "TD * OD + TH * OH", "TD * OD + OH"),
    ("resample", "index[i * OD + od]", "index[od]"),
    ("resample", "by_plane * weight[entry]", "weight[entry]"),
    ("resample", "j * OH + oh", "j * OH"),
    ("resample", "j < TH", "j < 1"),
    ("resample", "n * D + d", "d"),
    ("resample", "plane - n * OD", "plane"),
    ("resample", "+ (ow * C + c), sum", "+ ow * C, sum"),
]


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [pytest.param(*bug, marks=slow * (i > 0)) for i, bug in enumerate(MUTANTS)],
    ids=str,
)
def test_a_planted_bug_is_caught(monkeypatch, file, right, wrong):
    """By a wrong number or by what the emulator reports."""
    bug = planted_bug(monkeypatch, KERNELS, file, right, wrong)
    with bug, pytest.raises((AssertionError, RuntimeError)):
        check_the_cases_of_planted_bugs()


def check_the_cases_of_planted_bugs():
    # Of which the first has the same tables for each axis.
    for name in ("trilinear x2", "one axis each"):
        check_kernel(name, 8, mx.float32)
