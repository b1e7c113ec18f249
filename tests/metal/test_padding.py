"""The padding kernels, run in the emulator, against NumPy, and their derivatives."""

from __future__ import annotations

import itertools
from typing import Any

from lucid.metal import padding
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.metal.planted import planted_bug
from tests.metal_emulator import emulated_metal
from tests.metal_emulator.sanitize import needs_sanitizers, sanitizer_report
from tests.oracle import uniform
from tests.oracle.tolerances import RELATIVE, assert_close, distance

MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
DTYPES = (mx.float32, mx.float16, mx.bfloat16)
slow = [pytest.mark.slow]
# (before, after) on each axis, and the size; reflect takes at most size - 1
SIDES: list[tuple[Any, Any]] = [
    (((1, 1), (1, 1), (1, 1)), (2, 3, 4)),
    (((2, 0), (0, 1), (3, 2)), (3, 2, 5)),
    (((0, 0), (2, 2), (0, 0)), (1, 3, 1)),
    (((0, 3), (1, 0), (2, 4)), (4, 2, 5)),
    (((1, 1), (2, 2), (3, 3)), (2, 3, 4)),
]
FULL = ((2, 2), (3, 3), (4, 4)), (2, 3, 4)  # circular alone goes round


def numpy_pad(x: np.ndarray, sides: Any, mode: str) -> np.ndarray:
    return np.pad(x, [(0, 0), *sides, (0, 0)], MODES[mode])


def numpy_adjoint(dy: np.ndarray, shape: tuple[int, ...], sides: Any, mode: str) -> Any:
    """Each padded voxel's gradient added to the voxel that it copies."""
    voxels = numpy_pad(np.arange(np.prod(shape)).reshape(shape), sides, mode)
    dx = np.zeros(np.prod(shape))
    np.add.at(dx, voxels.ravel(), dy.ravel())
    return dx.reshape(shape)


@needs_sanitizers
@pytest.mark.parametrize(
    ("mode", "channels", "dtype"),
    [
        pytest.param(mode, channels, dtype, marks=slow * ((i + j) % 3 + k > 0))
        for i, mode in enumerate(MODES)
        for j, dtype in enumerate(DTYPES)
        for k, channels in enumerate((4 - i % 2, 1 + i % 2, 8, 3 + i % 2))
    ],
    ids=str,
)
def test_kernels_equal_numpy(mode, channels, dtype):
    rng = np.random.default_rng(0)
    cases = SIDES if mode != "circular" else [*SIDES, FULL]
    with emulated_metal() as emulation:
        for sides, size in cases:
            shape = (2, *size, channels)
            x = mx.array(uniform(rng, shape)).astype(dtype)
            exact = np.array(x.astype(mx.float32))
            y = padding.pad_kernel(x, sides, mode)
            np.testing.assert_array_equal(
                np.array(y.astype(mx.float32)), numpy_pad(exact, sides, mode)
            )
            dy = mx.array(uniform(rng, y.shape)).astype(dtype)
            want = numpy_adjoint(np.array(dy.astype(mx.float32)), shape, sides, mode)
            dx = padding.pad_adjoint_kernel(dy, sides, mode)
            assert_close(dx, want, "dx", dtype)
            assert y.dtype == dx.dtype == dtype
    assert set(emulation.names) == {"pad", "pad_adjoint"}
    assert emulation.type_errors() == []
    launches = [(one.kernel, one.inputs) for one in emulation.launches]
    assert sanitizer_report(launches) == ""


@pytest.mark.parametrize("mode", MODES)
def test_twins_equal_numpy(mode):
    rng = np.random.default_rng(0)
    for sides, size in SIDES:
        x = uniform(rng, (2, *size, 3))
        y = padding.pad_ops(mx.array(x), sides, mode)
        np.testing.assert_array_equal(np.array(y), numpy_pad(x, sides, mode))
        dy = uniform(rng, y.shape)
        dx = padding.pad_adjoint_ops(mx.array(dy), sides, mode)
        assert_close(dx, numpy_adjoint(dy, x.shape, sides, mode), "dx")


@pytest.mark.parametrize("mode", MODES)
def test_derivatives_of_any_order_run_by_kernel(mode):
    sides, size = SIDES[1]
    x = mx.random.uniform(shape=(1, *size, 2))

    def loss(x: mx.array) -> mx.array:
        return (padding.pad(x, sides, mode) ** 3).sum()

    def slope(x: mx.array) -> mx.array:
        return (mx.grad(loss)(x) ** 2).sum()

    def with_twins(function: Any) -> Any:
        """The same with what MLX makes of the composition."""
        by_ops = lambda x, sides, mode: padding.pad_ops(x, sides, mode)  # noqa: E731
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(padding, "pad", by_ops)
            return function(x)

    with emulated_metal() as emulation:
        first, second = mx.grad(loss)(x), mx.grad(slope)(x)
        assert emulation.names.count("pad_adjoint") == 3
        assert emulation.twins == []
    assert_close(first, np.array(with_twins(mx.grad(loss))), "first")
    assert_close(second, np.array(with_twins(mx.grad(slope))), "second")


def test_public_pad_takes_the_kernel_where_there_is_one():
    cases = [
        ((2, 3, 4, 5, 4), (1, 1, 2, 1, 0, 1), "reflect", ["pad"]),
        ((2, 3, 4, 5, 4), (1, 1), "circular", ["pad"]),
        ((3, 5, 4), (1, 2, 2, 2), "replicate", ["pad"]),
        ((7,), (3, 2), "circular", ["pad"]),
        ((2, 3, 4, 5, 4), (1, 1), "constant", []),
        ((2, 3, 4, 5, 4), (0, 0), "circular", []),
        ((2, 3, 4, 5, 4), (0, 0, 0, 0, 0, 0, 1, 1), "circular", []),
        ((0, 3, 4, 5, 4), (1, 1), "circular", []),
        ((2, 3, 4, 5, 4), (-1, -1, 1, 1), "reflect", ["pad"]),
    ]
    for shape, sides, mode, names in cases:
        x = mx.random.uniform(shape=shape)
        want = F.pad(x, sides, mode)
        with emulated_metal() as emulation:
            got = F.pad(x, sides, mode)
        assert emulation.names == names, (shape, sides, mode)
        assert mx.array_equal(got, want), (shape, sides, mode)


def test_integers_are_padded_without_the_kernel():
    x = mx.arange(4)
    with emulated_metal() as emulation:
        assert F.pad(x, (1, 1), "circular").tolist() == [3, 0, 1, 2, 3, 0]
    assert emulation.names == []


KERNELS = ("pad", "pad_adjoint")
MUTANTS = [
    ("pad", "od - before[0]", "od - before[1]"),
    ("pad", "od = plane - n * OD", "od = plane - n * D"),
    ("pad", "i < VEC", "i < 1"),
    ("pad", "w * C + c", "w * C"),
    ("pad_adjoint", "OD - 1", "OD - 2"),
    ("pad_adjoint", "i < lucid_count(in_d)", "i < 1"),
    ("pad_adjoint", "k < lucid_count(in_w)", "k < lucid_count(in_h)"),
    ("common", "from_start >= n ?", "from_start > n ?"),
    ("common", "metal::max(last - c.right + 1, 0)", "metal::max(last - c.right, 0)"),
    ("common", "k - 1 - c.left_count", "k - c.left_count"),
    ("common", "i <= n - 2 &&", "i <= n - 1 &&"),
    ("common", "i >= 1 && i <= before", "i >= 0 && i <= before"),
    ("common", "(i >= n ? i - n : i)", "i"),
]


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [pytest.param(*bug, marks=slow * (i % 5 > 0)) for i, bug in enumerate(MUTANTS)],
    ids=str,
)
def test_a_planted_bug_is_caught(monkeypatch, file, right, wrong):
    """By a wrong number or by what the emulator reports."""
    bug = planted_bug(monkeypatch, KERNELS, file, right, wrong)
    with bug, pytest.raises((AssertionError, RuntimeError)):
        check_the_cases_of_planted_bugs()


def check_the_cases_of_planted_bugs():
    rng = np.random.default_rng(0)
    for mode, (sides, size) in itertools.product(MODES, SIDES):
        x = uniform(rng, (2, *size, 8))
        with emulated_metal():
            y = padding.pad_kernel(mx.array(x), sides, mode)
            np.testing.assert_array_equal(np.array(y), numpy_pad(x, sides, mode))
            dy = uniform(rng, y.shape)
            dx = padding.pad_adjoint_kernel(mx.array(dy), sides, mode)
        want = numpy_adjoint(dy, x.shape, sides, mode)
        assert distance(dx, want) <= RELATIVE[mx.float32]


@pytest.mark.slow
def test_the_cases_of_planted_bugs_pass_without_one():
    check_the_cases_of_planted_bugs()
