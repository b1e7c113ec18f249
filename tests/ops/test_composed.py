"""The formulations made of MLX operations agree with the oracle, and it with itself."""

from __future__ import annotations

import itertools
import math

from lucid import dispatch
from lucid.geometry import ConvGeometry, check_padding, conv_geometry
from lucid.ops import composed
from lucid.ops.composed import conv3d_columns, conv3d_native
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle import (
    CHANNELS,
    MODES,
    SPATIAL,
    Problem,
    direct,
    problem,
    to_mlx,
    uniform,
)
from tests.oracle.tolerances import NATIVE_LOSS, assert_close, distance


def geometry_of(case: Problem) -> ConvGeometry:
    stride, dilation = direct.triple(case.stride), direct.triple(case.dilation)
    return conv_geometry(
        case.input_shape,
        case.weight_shape,
        stride,
        check_padding(case.padding, stride),
        dilation,
        case.groups,
        case.padding_mode,
    )


def output_and_gradients(formulation, case, arrays, cotangent) -> list[mx.array]:
    geometry = geometry_of(case)
    outputs, gradients = mx.vjp(
        lambda x, w, b: formulation(x, w, b, geometry), arrays, [cotangent]
    )
    return outputs + gradients


def check(formulation, case: Problem) -> None:
    """Output and gradients are the oracle's."""
    rng = np.random.default_rng(0)
    arrays = case.draw(rng)
    want = direct.conv3d(*arrays, **case.options)
    cotangent = uniform(rng, want.shape)
    exact = direct.conv3d_gradients(*arrays[:2], cotangent, **case.options)
    got = output_and_gradients(formulation, case, to_mlx(arrays), mx.array(cotangent))
    for name, a, b in zip(("y", "dx", "dw", "db"), got, (want, *exact), strict=True):
        assert_close(a, b, name)


@pytest.mark.parametrize("spatial", [SPATIAL[0], *SPATIAL[5:8]], ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("lead", [1, 2, 3])
def test_every_level_of_accumulation_is_exact(
    monkeypatch, lead, channels, mode, spatial
):
    case = problem(channels, mode, spatial)
    geometry = geometry_of(case)
    voxels = 2 * geometry.in_channels * math.prod(geometry.output_size)
    # Just enough for blocks of the kernel axes that are not accumulated over.
    cap = 4 * voxels * math.prod(geometry.kernel_size[lead:])
    monkeypatch.setattr(composed, "COLUMNS_BYTES", cap)
    columns, blocks = composed._columns, []

    def spy(*arguments):
        blocks.append(columns(*arguments))
        return blocks[-1]

    monkeypatch.setattr(composed, "_columns", spy)
    check(conv3d_columns, case)
    assert all(block.nbytes <= cap for block in blocks)
    assert len(blocks) == math.prod(geometry.kernel_size[:lead])


def test_a_cap_below_one_tap_still_computes(monkeypatch):
    monkeypatch.setattr(composed, "COLUMNS_BYTES", 0)
    check(conv3d_columns, problem("grouped", "circular"))


@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_mlxs_own_convolution_with_our_padding_is_exact(mode, spatial):
    check(conv3d_native, problem("dense", mode, spatial))


@pytest.mark.parametrize("spatial", SPATIAL[:4], ids=str)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_types_lose_no_more_than_twice_what_mlx_loses(dtype, spatial):
    case = problem("dense", spatial=spatial)
    rng = np.random.default_rng(0)
    arrays = to_mlx(case.draw(rng), dtype)
    (cotangent,) = to_mlx([uniform(rng, geometry_of(case).output_shape)], dtype)
    halves = case, arrays, cotangent
    singles = case, [x.astype(mx.float32) for x in arrays], cotangent.astype(mx.float32)
    exact = output_and_gradients(conv3d_native, *singles)
    native = output_and_gradients(conv3d_native, *halves)
    ours = output_and_gradients(dispatch.conv3d, *halves)
    for got, theirs, want in zip(ours, native, exact, strict=True):
        assert got.dtype == dtype
        assert distance(got, want) <= NATIVE_LOSS * distance(theirs, want)


ORACLE_CASES = [
    problem(channels, mode, spatial)
    for channels, mode, spatial in itertools.product(
        CHANNELS, MODES, (SPATIAL[5], SPATIAL[6], SPATIAL[12])
    )
]


def test_the_oracle_is_the_definition():
    """One output voxel at a time: sum over channels and taps of weight times voxel."""
    case = problem("grouped")
    x, w, b = (a.astype(float) for a in case.draw(np.random.default_rng(0)))
    got = direct.conv3d(x, w, b, **case.options)
    padded = np.pad(x, [(0, 0), (0, 0), (0, 0), (2, 2), (1, 1)])
    (sd, sh, sw), (dd, dh, dw) = case.stride, case.dilation
    assert got.shape == (2, 6, 2, 5, 2)
    for n, o, d, h, v in itertools.product(*map(range, got.shape)):
        group = o // 3
        total = b[o]
        for c, i, j, k in itertools.product(range(2), range(1), range(3), range(2)):
            at = (d * sd + i * dd, h * sh + j * dh, v * sw + k * dw)
            total += w[o, c, i, j, k] * padded[(n, 2 * group + c, *at)]
        assert got[n, o, d, h, v] == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("case", ORACLE_CASES, ids=str)
def test_the_oracles_gradients_are_adjoint_to_its_output(case):
    """conv is linear in x, in w and in b, so <y(x), c> = <x, dx> and likewise."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(a.shape) for a in case.draw(rng))
    y = direct.conv3d(x, w, **case.options)
    c = rng.standard_normal(y.shape)
    dx, dw, db = direct.conv3d_gradients(x, w, c, **case.options)
    inner = np.vdot(y, c)
    assert np.vdot(x, dx) == pytest.approx(inner, rel=1e-10)
    assert np.vdot(w, dw) == pytest.approx(inner, rel=1e-10)
    shifted = np.vdot(direct.conv3d(x, w, b, **case.options), c)
    assert np.vdot(b, db) == pytest.approx(shifted - inner, rel=1e-10)


@pytest.mark.parametrize("case", ORACLE_CASES[::5], ids=str)
def test_the_oracles_gradients_are_its_finite_differences(case):
    rng = np.random.default_rng(0)
    arrays = [a.astype(float) for a in case.draw(rng)]
    c = rng.standard_normal(direct.conv3d(*arrays, **case.options).shape)
    exact = direct.conv3d_gradients(*arrays[:2], c, **case.options)

    def loss() -> float:
        return float(np.vdot(direct.conv3d(*arrays, **case.options), c))

    for array, gradient in zip(arrays, exact, strict=True):
        for at in rng.integers(array.size, size=8):
            before = array.flat[at]
            array.flat[at] = before + 0.5  # linear: no step is too large
            after = loss()
            array.flat[at] = before - 0.5
            assert after - loss() == pytest.approx(gradient.flat[at], abs=1e-9)
            array.flat[at] = before
