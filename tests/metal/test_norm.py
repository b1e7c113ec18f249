"""The kernels of normalization, run in the emulator, against float64 NumPy."""

from __future__ import annotations

from typing import Any

from lucid.metal import launch, norm
import lucid.nn.functional as F
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
# (N, V, C): four channels a thread and one; runs that end anywhere; several splits;
# more lanes than a threadgroup has; fewer than eight elements.
SHAPES = [
    (2, 37, 8),
    (3, 50, 3),
    (1, 700, 1),
    (1, 9, 1028),
    (2, 5, 261),
    (2, 1300, 4),
    (1, 1, 4),
    (1, 3, 1),
]


def drawn(rng: np.random.Generator, shape: Any, dtype: mx.Dtype) -> mx.array:
    return mx.array(uniform(rng, shape)).astype(dtype)


def check_kernels(
    shape: tuple[int, int, int], dtype: mx.Dtype, rng: np.random.Generator
) -> Any:
    """Both, with `a` and without, against their formulas; returns what was launched."""
    n, voxels, c = shape
    a, x = drawn(rng, shape, dtype), drawn(rng, shape, dtype)
    few = [drawn(rng, (n, c), mx.float32) for _ in range(4)]
    center, a_scale, x_scale, shift = few
    center = center - 2  # so that no sum cancels
    wide_a, wide_x, of_center = as_float64(a), as_float64(x), as_float64(center)
    v = wide_x - of_center[:, None]
    by_a, by_x, plus = (as_float64(t)[:, None] for t in few[1:])
    with emulated_metal() as emulation:
        for rows in {voxels, max(1, voxels // 8)}:
            for given, u in ((a, wide_a), (None, v)):
                want = np.stack([u[:, :rows].sum(1), (u * v)[:, :rows].sum(1)])
                assert_close(norm.sums_kernel(given, x, center, rows), want, "sums")
        y = norm.affine_kernel(a, a_scale, x, center, x_scale, shift)
        assert_close(y, wide_a * by_a + v * by_x + plus, "affine", dtype)
        y = norm.affine_kernel(None, None, x, center, x_scale, shift)
        assert_close(y, v * by_x + plus, "affine of one", dtype)
        assert y.dtype == dtype
    return emulation


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        pytest.param(shape, dtype, marks=slow * ((i, j) not in ((5, 0), (1, 2))))
        for i, shape in enumerate(SHAPES)
        for j, dtype in enumerate(DTYPES)
    ],
    ids=str,
)
def test_kernels_equal_numpy(shape, dtype):
    emulation = check_kernels(shape, dtype, np.random.default_rng(0))
    assert set(emulation.names) == {"channel_sums", "channel_affine"}
    assert emulation.type_errors() == []


@pytest.mark.slow
@needs_sanitizers
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_kernels_are_clean_under_the_sanitizers(dtype):
    rng = np.random.default_rng(0)
    emulations = [
        check_kernels(shape, dtype, rng) for shape in (*SHAPES[:2], (1, 3, 1))
    ]
    launches = [one for every in emulations for one in every.launches]
    assert sanitizer_report([(one.kernel, one.inputs) for one in launches]) == ""


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_twins_equal_the_kernels(shape):
    rng = np.random.default_rng(1)
    (n, _, c), dtype = shape, mx.float16
    a, x = drawn(rng, shape, dtype), drawn(rng, shape, dtype)
    few = [drawn(rng, (n, c), mx.float32) for _ in range(4)]
    calls = [
        (norm.sums_kernel, norm.sums_ops, (a, x, few[0] - 2, shape[1])),
        (norm.sums_kernel, norm.sums_ops, (None, x, few[0] - 2, shape[1])),
        (norm.affine_kernel, norm.affine_ops, (a, few[1], x, few[0], few[2], few[3])),
        (norm.affine_kernel, norm.affine_ops, (None, None, x, *few[:3])),
    ]
    for kernel, twin, arguments in calls:
        with emulated_metal() as emulation:
            got = kernel(*arguments)
        want = twin(*arguments)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        assert_close(got, as_float64(want), "kernel", got.dtype)
        assert len(emulation.names) == 1


@pytest.mark.slow
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3]], ids=str)
def test_sums_are_those_of_any_threadgroup(shape, monkeypatch):
    monkeypatch.setenv("LUCID_METAL", "trust")  # none smaller has such a group
    rng = np.random.default_rng(0)
    with launch.groups_of(1024):
        emulation = check_kernels(shape, mx.float32, rng)
    sums = [one.kernel for one in emulation.launches if one.name == "channel_sums"]
    assert max(np.prod(kernel.threadgroup) for kernel in sums) > launch.LARGEST_GROUP


LAYERS = {
    "instance": lambda x, w, b: F.instance_norm(x, weight=w, bias=b),
    "group": lambda x, w, b: F.group_norm(x, 2, w, b),
    "batch": lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    "evaluated": lambda x, w, b: F.batch_norm(x, w * 0.5, w + 1, w, b),
}
AXES = {"instance": (2, 3, 4), "group": (2, 3, 4, 5), "batch": (0, 2, 3, 4)}


def exact(name: str, x: np.ndarray) -> np.ndarray:
    """In float64, without weight and bias."""
    if name == "group":
        n, c, *size = x.shape
        x = x.reshape(n, 2, c // 2, *size)
    mean = x.mean(AXES[name], keepdims=True)
    y = (x - mean) / np.sqrt(x.var(AXES[name], keepdims=True) + 1e-5)
    return y.reshape(y.shape[0], -1, *y.shape[-3:])


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("channels", [4, pytest.param(6, marks=slow)])
def test_a_large_mean_costs_no_digits(name, channels):
    rng = np.random.default_rng(0)
    x = (1e4 + rng.standard_normal((2, channels, 7, 8, 9))).astype(np.float32)
    one, none = mx.ones((channels,)), mx.zeros((channels,))
    with emulated_metal() as emulation:
        y = LAYERS[name](mx.array(x), one, none)
    assert emulation.names == ["channel_sums", "channel_sums", "channel_affine"]
    assert_close(y, exact(name, x.astype(np.float64)), "output")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(
            name,
            dtype,
            marks=slow * (dtype != mx.float32 or name in ("group", "batch")),
        )
        for name in LAYERS
        for dtype in DTYPES
    ],
    ids=str,
)
def test_gradients_of_every_order_run_by_kernel(name, dtype):
    rng = np.random.default_rng(0)
    arrays = [drawn(rng, shape, dtype) for shape in ((2, 4, 3, 4, 5), (4,), (4,))]
    dy = drawn(rng, (2, 4, 3, 4, 5), dtype)

    def slope(*arrays: mx.array) -> mx.array:
        def loss(*arrays: mx.array) -> mx.array:
            return (LAYERS[name](*arrays) * dy.astype(arrays[0].dtype)).square().sum()

        first = mx.grad(loss, (0, 1, 2))(*arrays)
        return sum(g.astype(mx.float32).square().mean() for g in first)

    wide = [array.astype(mx.float32) for array in arrays]
    want = mx.grad(slope, (0, 1, 2))(*wide)
    with emulated_metal() as emulation:
        got = mx.grad(slope, (0, 1, 2))(*arrays)
        mx.eval(got)
    assert emulation.twins == []
    bound = {mx.float32: 1e-4, mx.float16: 2e-2, mx.bfloat16: 0.2}[dtype]
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype
        off = np.abs(as_float64(a) - as_float64(b)).max()
        assert off <= bound * np.abs(as_float64(b)).max()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=slow * (name != "group")) for name in LAYERS]
)
def test_tangents_equal_differences(name):
    rng = np.random.default_rng(0)
    shapes = ((2, 4, 3, 4, 5), (4,), (4,))
    arrays = [drawn(rng, shape, mx.float32) for shape in shapes]
    tangents = [drawn(rng, shape, mx.float32) for shape in shapes]
    _, want = mx.jvp(lambda *xs: [LAYERS[name](*xs)], arrays, tangents)
    with emulated_metal():
        _, got = mx.jvp(lambda *xs: [LAYERS[name](*xs)], arrays, tangents)
    assert_close(got[0] + 10, as_float64(want[0]) + 10, "tangent")


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_batch_and_other_ranks_need_no_kernel(name):
    one = mx.ones((4,))
    with emulated_metal() as emulation:
        assert LAYERS[name](mx.zeros((0, 4, 2, 2, 2)), one, one).shape == (
            0,
            4,
            2,
            2,
            2,
        )
        x = mx.random.normal((2, 4, 5))
        LAYERS[name](x, one, one)
    assert emulation.names == []


def test_volumes_beyond_32_bits_have_runs_that_are_not_too_long(monkeypatch):
    """Nothing runs: what would be launched is noted."""
    asked = []

    def noted(name: str, **options: Any) -> mx.array:
        asked.append((name, options))
        return mx.zeros(options["shape"], options["dtype"])

    monkeypatch.setattr(launch, "launch", noted)
    x = mx.zeros((1, 2048 * 1024 * 512, 64), mx.float16)  # 2^36 elements
    few = mx.zeros((1, 64))
    norm.sums_kernel.kernel(None, x, few, x.shape[1])
    norm.affine_kernel.kernel(None, None, x, few, few, few)
    (_, sums), (_, affine) = asked
    rows, rows_a_split = sums["inputs"]["size"].tolist()
    splits = sums["shape"][0]
    assert (splits - 1) * rows_a_split < rows <= splits * rows_a_split
    assert rows_a_split // sums["threads"][1] == norm.LONGEST_RUN
    # The parts of the sums are small beside what they are sums of.
    assert 4 * np.prod(sums["shape"]) < 2**36 / 100
    assert affine["threads"] == (16, x.shape[1] // norm.ROWS, 1)


KERNELS = ("channel_sums", "channel_affine")
MUTANTS = [
    ("channel_sums", "row += Y", "row += Y + 1"),
    ("channel_sums", "start + rows_a_split)", "start + rows_a_split + 1)"),
    ("channel_sums", "size_t(x_shape[1]) + start + y", "size_t(x_shape[1]) + start"),
    ("channel_sums", "y + half_of < left", "y + half_of < left - 1"),
    ("channel_sums", "n * splits;", "n;"),
    ("channel_sums", "size_t(split) * 2", "size_t(split)"),
    ("channel_sums", "product += u * v", "product += v * v"),
    (
        "channel_sums",
        "threadgroup_barrier(metal::mem_flags::mem_threadgroup);",
        "",
    ),
    ("channel_affine", "row < V", "row <= V"),
    ("channel_affine", "uint(i) * threads_per_grid.y", "uint(i)"),
    ("channel_affine", "(volume + row)", "row"),
    ("channel_affine", "- middle", "+ middle"),
    ("channel_affine", "if (TWO) {\n      v", "if (!TWO) {\n      v"),
]


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [pytest.param(*bug, marks=slow * (i % 8 > 0)) for i, bug in enumerate(MUTANTS)],
    ids=str,
)
def test_a_planted_bug_is_caught(monkeypatch, file, right, wrong):
    """By a wrong number or by what the emulator reports."""
    bug = planted_bug(monkeypatch, KERNELS, file, right, wrong)
    with bug, pytest.raises((AssertionError, RuntimeError)):
        check_the_cases_of_planted_bugs()


def check_the_cases_of_planted_bugs():
    for shape in (SHAPES[0], SHAPES[5]):
        check_kernels(shape, mx.float32, np.random.default_rng(0))


@pytest.mark.slow
def test_the_cases_of_planted_bugs_pass_without_one():
    check_the_cases_of_planted_bugs()
