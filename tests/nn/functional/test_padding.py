"""`F.pad` against `np.pad`, its gradients, and what it refuses."""

from __future__ import annotations

from typing import Any

import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle import direct, uniform
from tests.oracle.tolerances import assert_close

# PyTorch's names of the modes, and np.pad's.
MODES = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}
# The shape, and `pad` with the last axis first; no mode's limit is passed.
PADS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((5,), (2, 1)),
    ((1,), (0, 0)),
    ((4, 3), (1, 2)),
    ((4, 3), (1, 2, 3, 0)),
    ((2, 4, 3), (0, 0, 2, 3)),
    ((2, 3, 4, 5), (4, 4, 3, 0)),
    ((2, 3, 4, 5, 6), (1, 2, 3, 4, 0, 1)),
    ((3, 2, 4, 3, 5), (1, 0, 2, 2, 3, 1, 0, 1, 2, 0)),
    ((3, 2, 2, 4, 3, 5), (1, 2, 0, 1)),
    ((6,), (-2, -1)),
    ((6, 5), (-2, 2)),
    ((6, 5), (2, -1, -3, 0)),
    ((2, 3, 6, 5), (-1, 3, 2, -2, -1, 0)),
    ((4, 5), ()),
]


def expected(x: np.ndarray, pad: tuple[int, ...], mode: str) -> np.ndarray:
    """Crop by the negative entries, then `np.pad` by the others."""
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    window = tuple(
        slice(max(-before, 0), n - max(-after, 0))
        for n, (before, after) in zip(x.shape, pairs, strict=True)
    )
    grow = [(max(before, 0), max(after, 0)) for before, after in pairs]
    modes: dict[str, Any] = MODES
    return np.pad(x[window], grow, mode=modes[mode])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape", "pad"), PADS, ids=str)
def test_equals_numpys_pad(shape, pad, mode):
    x = np.arange(np.prod(shape)).reshape(shape)
    got = F.pad(mx.array(x), pad, mode)
    np.testing.assert_array_equal(np.array(got), expected(x, pad, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape", "pad"), PADS, ids=str)
def test_gradient_is_the_adjoint(shape, pad, mode):
    """<pad(x), y> = <x, gradient(y)> for every x: here the rows of the identity."""
    rng = np.random.default_rng(0)
    y = uniform(rng, expected(np.zeros(shape), pad, mode).shape)
    _, (got,) = mx.vjp(
        lambda x: F.pad(x, pad, mode), [mx.array(uniform(rng, shape))], [mx.array(y)]
    )
    size = int(np.prod(shape))
    # Which voxel of x each voxel of the padded array shows; 0 is none.
    shown = expected(np.arange(1, size + 1).reshape(shape), pad, mode)
    want = np.bincount(shown.ravel(), y.ravel(), size + 1)[1:].reshape(shape)
    assert_close(got, want, "dx")


@pytest.mark.parametrize("mode", MODES)
def test_gradient_of_the_gradient_is_the_padding(mode):
    rng = np.random.default_rng(0)
    x, tangent = uniform(rng, (2, 3, 4)), uniform(rng, (2, 3, 4))
    pad = (3, 2, 1, 2)

    def inner(cotangent):
        _, (dx,) = mx.vjp(lambda x: F.pad(x, pad, mode), [mx.array(x)], [cotangent])
        return (dx * mx.array(tangent)).sum()

    padded = expected(tangent, pad, mode)
    assert_close(mx.grad(inner)(mx.ones(padded.shape)), padded, "d2y")


@pytest.mark.parametrize("mode", direct.NUMPY_MODES)
def test_the_oracles_padding_gradient_is_the_adjoint(mode):
    rng = np.random.default_rng(0)
    pairs = [(3, 1), (0, 2), (2, 2)]
    x = rng.standard_normal((2, 4, 3, 5))
    padded = direct.pad(x, pairs, mode)
    y = rng.standard_normal(padded.shape)
    gradient = direct.pad_gradient(y, pairs, mode)
    assert gradient.shape == x.shape
    assert np.vdot(padded, y) == pytest.approx(np.vdot(x, gradient), rel=1e-12)


@pytest.mark.parametrize("value", [None, 0.0, -2.5, 3, float("inf")])
def test_constant_pads_with_its_value(value):
    x = mx.array([[1.0, 2.0]])
    got = F.pad(x, (1, 0, 0, 1), value=value).tolist()
    v = value or 0
    assert got == [[v, 1.0, 2.0], [v, v, v]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "dtype", [mx.float16, mx.bfloat16, mx.int32, mx.uint8, mx.bool_], ids=str
)
def test_the_dtype_is_kept(dtype, mode):
    x = mx.array([1, 0, 1, 1]).astype(dtype)
    got = F.pad(x, (2, 1), mode)
    assert got.dtype == dtype
    want = expected(np.array([1, 0, 1, 1]), (2, 1), mode)
    assert got.astype(mx.int32).tolist() == want.tolist()


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_batch_is_padded(mode):
    x = mx.zeros((0, 2, 4, 4))
    assert F.pad(x, (1, 1, 2, 0), mode).shape == (0, 2, 6, 6)


def test_constant_alone_fills_an_empty_axis():
    assert F.pad(mx.zeros((2, 0)), (1, 2), value=7).tolist() == [[7.0] * 3] * 2
    for mode in ("reflect", "replicate", "circular"):
        with pytest.raises(ValueError, match=r"`pad` .*\(2, 0\)"):
            F.pad(mx.zeros((2, 0)), (1, 2), mode)


@pytest.mark.parametrize(
    ("mode", "most"), [("reflect", 3), ("circular", 4), ("replicate", 9)]
)
def test_each_mode_pads_up_to_its_limit(mode, most):
    x = np.arange(4)
    got = F.pad(mx.array(x), (most, most), mode)
    np.testing.assert_array_equal(np.array(got), expected(x, (most, most), mode))


@pytest.mark.parametrize(
    ("pad", "options", "message"),
    [
        ((1,), {}, r"`pad` \(=\(1,\)\) must hold pairs"),
        ((1, 1, 1), {}, r"`pad` .* must hold pairs"),
        ((1,) * 6, {}, r"`pad` .* input's 2 axes"),
        ((1, 1), {"mode": "zeros"}, r"`mode` \(='zeros'\)"),
        ((1, 1), {"mode": "edge"}, r"`mode` \(='edge'\)"),
        ((1, 1), {"mode": "reflect", "value": 0.5}, r"`value` \(=0.5\)"),
        ((4, 0), {"mode": "reflect"}, r"`pad` .*'reflect'.*less than .*=4"),
        ((0, 5), {"mode": "circular"}, r"`pad` .*'circular'.*at most .*=4"),
        ((-3, 2), {"mode": "circular"}, r"`pad` .*'circular'.*at most .*=1"),
        ((-2, -3), {}, r"`pad` crops an axis of 4 to nothing"),
        ((-2, -2), {"mode": "circular"}, r"`pad` crops an axis of 4 to nothing"),
        ((9, -5), {}, r"`pad` crops an axis of 4 to nothing"),
        ((-(10**30), 0), {}, r"`pad` crops"),
        ((1, 1), {"value": 10**400}, r"`value` .*no dtype"),
        ((10**10, 0), {}, r"`pad` .*more than this machine can hold"),
        ((10**30, 10**30), {"mode": "replicate"}, r"`pad` .*more than"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(pad, options, message):
    with pytest.raises(ValueError, match=message):
        F.pad(mx.zeros((3, 4)), pad, **options)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"input": np.zeros((3, 4))}, "input"),
        ({"input": None}, "input"),
        ({"pad": 1}, "pad"),
        ({"pad": None}, "pad"),
        ({"pad": "11"}, "pad"),
        ({"pad": (1.0, 1)}, "pad"),
        ({"pad": (True, 1)}, "pad"),
        ({"pad": np.array([1, 1])}, "pad"),
        ({"pad": ((1, 1), (1, 1))}, "pad"),
        ({"mode": ["constant"]}, "mode"),
        ({"mode": None}, "mode"),
        ({"value": "0"}, "value"),
        ({"value": np.zeros(3)}, "value"),
    ],
    ids=str,
)
def test_a_wrong_type_is_refused_by_name(arguments, name):
    valid = {"input": mx.zeros((3, 4)), "pad": (1, 1)}
    with pytest.raises(TypeError, match=f"`{name}` "):
        F.pad(**{**valid, **arguments})


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((value, "int32") for value in (2**24 + 1, 2**31 - 1, -(2**31))),
        *((value, "int64") for value in (2**53 + 1, 2**63 - 1)),
        *((value, "uint64") for value in (2**64 - 1, 3.0)),
        *((value, "uint8") for value in (255, True, np.int64(7))),
        *((value, "bool") for value in (True, 1, 0.0)),
        *((value, "float16") for value in (65504, -np.inf)),
        ("0.1", "float64"),
    ],
)
def test_a_value_is_held_exactly(value: Any, dtype: str):
    value = float(value) if isinstance(value, str) else value
    with mx.stream(mx.cpu):
        x = mx.zeros((1,), getattr(mx, "bool_" if dtype == "bool" else dtype))
        got = F.pad(x, (1, 0), value=value)
        assert got.dtype == x.dtype
        assert got[0].item() == value


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((value, mx.uint8) for value in (256, -1, 1.5, np.nan, np.inf)),
        *((value, mx.int32) for value in (2**31, 1e10)),
        *((value, mx.float16) for value in (70000.0, 1j)),
        *((value, mx.bool_) for value in (2, 0.5)),
    ],
)
def test_a_value_that_the_dtype_cannot_hold_is_refused(value: Any, dtype: Any):
    with pytest.raises(ValueError, match="`value`"):
        F.pad(mx.zeros((1,), dtype), (1, 0), value=value)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_every_mode_takes_the_value_zero(mode):
    x = mx.arange(4)
    for value in (0, 0.0, False):
        got = F.pad(x, (1, 1), mode, value)
        assert got.tolist() == F.pad(x, (1, 1), mode).tolist()


@pytest.mark.parametrize("value", [np.datetime64(1, "s"), np.timedelta64(1, "ns"), "0"])
@pytest.mark.parametrize("mode", MODES)
def test_a_value_that_is_no_number_is_a_type_error(value, mode):
    with pytest.raises(TypeError, match="`value`"):
        F.pad(mx.zeros(3), (1, 1), mode, value)


# PyTorch's results.
@pytest.mark.parametrize(
    ("pad", "mode", "want"),
    [
        ((-3, 3), "reflect", [3, 4, 5, 4, 3, 2]),
        ((-6, 2), "reflect", [4, 3]),
        ((3, -3), "reflect", [3, 2, 1, 0, 1, 2]),
        ((-7, 2), "replicate", [5]),
        ((9, -8), "replicate", [0] * 7),
        ((-3, 3), "circular", [3, 4, 5, 3, 4, 5]),
        ((-4, 3), "constant", [4, 5, 0, 0, 0]),
        ((-6, 2), "constant", [0, 0]),
        ((-3, -3), "constant", []),
    ],
)
def test_a_crop_on_one_side_and_padding_on_the_other(pad, mode, want):
    assert F.pad(mx.arange(6), pad, mode).tolist() == want
