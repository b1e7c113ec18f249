"""The oracle is the definition, and its gradients are its own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.oracle import CHANNELS, MODES, SPATIAL, direct, problem

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
