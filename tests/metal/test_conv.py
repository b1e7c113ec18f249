"""The convolution kernels, run in the emulator, against the float64 oracle."""

from __future__ import annotations

import itertools
from typing import Any

from lucid.metal import conv
import mlx.core as mx
import numpy as np
import pytest

from tests.metal.planted import planted_bug
from tests.metal_emulator import emulated_metal
from tests.ops.test_formulations import geometry_of
from tests.oracle import MODES, Problem, direct, random_problem, uniform
from tests.oracle.tolerances import assert_close

DTYPES = (mx.float32, mx.float16, mx.bfloat16)
slow = [pytest.mark.slow]
# (groups, input channels, output channels of a group): each way that a thread takes its
# channels, four, two or one at a time, on either side.
TILES = {
    "depthwise": (8, 1, 1),
    "depthwise, plain": (3, 1, 1),
    "depthwise, pairs": (6, 1, 1),
    "4 and 4": (2, 8, 4),
    "4 and plain": (2, 3, 4),
    "plain and 4": (1, 8, 3),
    "plain": (2, 3, 5),
    "multiplier": (2, 1, 4),
    "2 and 2": (3, 2, 2),
    "6 and 4": (1, 6, 4),
    "2 and plain": (2, 2, 1),
}
KERNELS = ("conv_forward", "conv_input_gradient", "conv_weight_gradient")
# kernel, stride, dilation, padding, size. Along W: strips of four and of eight that end
# in many ways, strides that a strip holds and that it does not, kernels and dilations
# too long to be shared.
SPATIAL: list[tuple[Any, ...]] = [
    ((3, 3, 3), 1, 1, 1, (2, 3, 4)),
    ((2, 3, 3), (2, 1, 1), 1, (1, 0, 1), (3, 3, 5)),
    ((1, 2, 3), 1, (1, 2, 1), (0, 1, 1), (2, 4, 6)),
    ((3, 1, 3), (1, 2, 1), 1, 1, (2, 2, 7)),
    ((2, 2, 2), 2, 1, 0, (3, 2, 9)),
    ((1, 1, 4), (1, 1, 3), 2, (0, 0, 3), (1, 2, 8)),
    ((2, 1, 2), (1, 3, 5), 1, (1, 0, 1), (2, 4, 13)),
    ((1, 2, 9), 1, (1, 1, 3), "same", (1, 2, 25)),
    ((2, 3, 4), 1, (2, 1, 2), "same", (3, 2, 7)),
    ((1, 1, 1), (2, 1, 2), 1, 0, (3, 2, 5)),
    ((1, 1, 3), 1, 1, (0, 0, 2), (1, 1, 3)),
    ((1, 2, 3), 1, 1, (0, 1, 1), (2, 2, 17)),
    ((2, 1, 3), (1, 1, 2), 1, (0, 0, 3), (2, 2, 18)),
    ((1, 1, 2), (1, 1, 3), 1, (0, 0, 2), (1, 2, 22)),
]


def case_of(tile: str, mode: str, spatial: tuple[Any, ...], batch: int = 2) -> Problem:
    groups, c, o = TILES[tile]
    kernel, stride, dilation, padding, size = spatial
    return Problem(
        input_shape=(batch, groups * c, *size),
        weight_shape=(groups * o, c, *kernel),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=mode,
    )


def channels_last(array: np.ndarray, dtype: mx.Dtype = mx.float32) -> mx.array:
    return mx.contiguous(mx.array(array).astype(dtype).transpose(0, 2, 3, 4, 1))


def check_kernels(case: Problem, dtype: mx.Dtype, rng: np.random.Generator) -> Any:
    """All three against the oracle; returns what was launched."""
    geometry = geometry_of(case)
    arrays = [
        np.array(mx.array(a).astype(dtype).astype(mx.float32)) for a in case.draw(rng)
    ]
    x, w, *b = arrays
    y = direct.conv3d(*arrays, **case.options)
    dy = np.array(mx.array(uniform(rng, y.shape)).astype(dtype).astype(mx.float32))
    dx, dw = direct.conv3d_gradients(x, w, dy, **case.options)[:2]
    weight, bias = mx.array(w).astype(dtype), [mx.array(a).astype(dtype) for a in b]
    with emulated_metal() as emulation:
        got_y = conv.forward_kernel(
            channels_last(x, dtype), weight, *(bias or [None]), geometry
        )
        got_dx = conv.input_gradient_kernel(channels_last(dy, dtype), weight, geometry)
        got_dw = conv.weight_gradient_kernel(
            channels_last(x, dtype), channels_last(dy, dtype), geometry
        )
    back = (0, 4, 1, 2, 3)
    assert_close(got_y.transpose(back), y, f"output of {case}", dtype)
    assert_close(got_dx.transpose(back), dx, f"input gradient of {case}", dtype)
    assert_close(got_dw, dw, f"weight gradient of {case}", dtype)
    assert {got.dtype for got in (got_y, got_dx, got_dw)} == {dtype}
    return emulation


@pytest.mark.parametrize(
    "tile",
    [pytest.param(t, marks=slow * (t in ("6 and 4", "2 and plain"))) for t in TILES],
)
def test_kernels_equal_the_oracle_in_every_tile(tile):
    """Each with another mode, dtype and shape, so that all of them are met."""
    i = list(TILES).index(tile)
    case = case_of(tile, MODES[i % 4], SPATIAL[i])
    emulation = check_kernels(case, DTYPES[i % 3], np.random.default_rng(0))
    assert emulation.names == list(KERNELS)
    assert emulation.type_errors() == []


@pytest.mark.parametrize("spatial", SPATIAL[len(TILES) :], ids=str)
def test_kernels_equal_the_oracle_on_the_other_shapes(spatial):
    case = case_of("depthwise", "zeros", spatial)
    check_kernels(case, mx.float32, np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tile", TILES)
def test_kernels_equal_the_oracle_in_every_combination(tile, mode, dtype):
    """On every fifth shape: on each in some combinations."""
    tiles, modes = list(TILES).index(tile), MODES.index(mode)
    for spatial in SPATIAL[(tiles + 2 * modes + DTYPES.index(dtype)) % 5 :: 5]:
        case = case_of(tile, mode, spatial)
        emulation = check_kernels(case, dtype, np.random.default_rng(1))
        assert emulation.type_errors() == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_kernels_equal_the_oracle_on_random_problems(seed):
    rng = np.random.default_rng(seed)
    for _ in range(12):
        case = random_problem(rng)
        if len(case.input_shape) == 5:
            check_kernels(case, DTYPES[seed % 3], rng)


@pytest.mark.parametrize(
    "dtype", [pytest.param(t, marks=slow * (t != mx.float32)) for t in DTYPES], ids=str
)
def test_arrays_of_fewer_than_eight_elements(dtype):
    """MLX passes them in another address space."""
    for groups in (1, 2):
        case = Problem((1, 2, 1, 1, 2), (2, 2 // groups, 1, 1, 1), groups=groups)
        emulation = check_kernels(case, dtype, np.random.default_rng(0))
        assert emulation.type_errors() == []
        assert "constant float* x" in emulation.launches[0].kernel.source or (
            dtype != mx.float32
        )


@pytest.mark.parametrize(
    "tile", [pytest.param(t, marks=slow * (t != "4 and 4")) for t in TILES]
)
def test_arrays_of_more_elements_than_32_bits_count(monkeypatch, tile):
    """Their kernels, on small arrays."""
    monkeypatch.setattr(conv, "LARGE", 1)
    for spatial in SPATIAL[:: len(SPATIAL) if tile == "4 and 4" else 3]:
        case = case_of(tile, "circular", spatial)
        emulation = check_kernels(case, mx.float32, np.random.default_rng(0))
        assert all(one.template["LARGE"] for one in emulation.launches)
        assert emulation.type_errors() == []


def test_inputs_that_are_views():
    """A slice starts anywhere; a transposed view is made contiguous by MLX."""
    geometry = geometry_of(case_of("depthwise", "circular", SPATIAL[0]))
    x = mx.random.uniform(shape=(2, 2, 3, 4, 8))
    w = mx.random.uniform(shape=(8, 1, 3, 3, 3))
    flat = mx.concatenate([mx.zeros(1), x.flatten()])
    views = [
        flat[1:].reshape(x.shape),
        mx.contiguous(x.transpose(4, 3, 2, 1, 0)).transpose(4, 3, 2, 1, 0),
    ]
    with emulated_metal():
        want = conv.forward_kernel(x, w, None, geometry)
        for view in views:
            got = conv.forward_kernel(view, w, None, geometry)
            assert mx.array_equal(got, want)


@pytest.mark.slow
def test_the_cases_of_planted_bugs_pass_without_one():
    check_the_cases_of_planted_bugs()


MUTANTS = [
    ("common", "2 * (n - 1) - from_start", "2 * n - 1 - from_start"),
    ("common", "metal::max(i, 0), n - 1)", "metal::max(i, 0), n - 2)"),
    ("common", "return i < 0 ? i + n", "return i < 0 ? i + n - 1"),
    ("common", "c.left_count = i == 0 ? before : 0;", "c.left_count = i == 0 ? 1 : 0;"),
    ("common", "c.right = before + 2 * (n - 1) - i;", "c.right = before + 2 * n - i;"),
    ("common", "c.left_count = c.left >= 0 ? 1 : 0;", "c.left_count = 0;"),
    ("common", "rest % stride != 0", "false"),
    ("common", "return output < size ? output : -1;", "return output;"),
    ("conv_forward", "if (ow + t < OW) {", "{"),
    ("conv_forward", "kd * dilation[0]", "kd"),
    ("conv_forward", "chunk < KW; chunk += KB", "chunk < KB; chunk += KB"),
    ("conv_forward", "o / (O / (C / CG)) * CG", "o * CG"),
    ("conv_forward", "c < CG; c += LANES", "c < CG; c += 1"),
    ("conv_forward", "if (KB < KW)", "if (false)"),
    ("conv_forward", "size_t(n) *", "size_t(0) *"),
    ("common", "first + s * STEP", "first + s"),
    ("common", "w < 0 ? -1 : w * C", "w < 0 ? -1 : w"),
    (
        "common",
        "(const device packed_float4*)p",
        "(const device packed_float4*)(p + 1)",
    ),
    ("common", "*(device packed_float4*)p = v", "*(device packed_float2*)p = v.xy"),
    ("conv_input_gradient", "size_t(n) *", "size_t(0) *"),
    ("conv_weight_gradient", "(n * D + d)", "(n + d)"),
    ("conv_weight_gradient", "od = 0;", "od = 1;"),
    ("conv_input_gradient", "ow < 0 || ow >= OW", "ow < 0"),
    ("conv_input_gradient", "(t - k * DW) % SW == 0", "true"),
    ("conv_input_gradient", "SHARED ? KW : 0", "SHARED ? 2 * KW : 0"),
    ("conv_input_gradient", "before[2] / SW * SW + strip", "strip"),
    ("conv_input_gradient", "i >= 0 && i < W", "i < W"),
    ("conv_weight_gradient", "if (ow + t < OW) {", "{"),
    ("conv_weight_gradient", "metal::min(rows, (split", "metal::max(rows, (split"),
    ("conv_weight_gradient", "row < stop; row++", "row < stop - 1; row++"),
    ("conv_weight_gradient", "lane * LANES + j;", "lane + j;"),
    ("conv_weight_gradient", "kh = tap / KW % KH", "kh = tap / KH % KH"),
]


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [pytest.param(*bug, marks=slow * (i % 9 > 0)) for i, bug in enumerate(MUTANTS)],
    ids=str,
)
def test_a_planted_bug_is_caught(monkeypatch, file, right, wrong):
    """By a wrong number or by what the emulator reports, in one of these cases."""
    bug = planted_bug(monkeypatch, KERNELS, file, right, wrong)
    with bug, pytest.raises((AssertionError, RuntimeError)):
        check_the_cases_of_planted_bugs()


def check_the_cases_of_planted_bugs():
    for tile, mode, spatial in itertools.product(
        ("depthwise", "4 and 4"), MODES, [SPATIAL[i] for i in (1, 6, 8, 5, 7)]
    ):
        case = case_of(tile, mode, spatial)
        check_kernels(case, mx.float32, np.random.default_rng(0))
