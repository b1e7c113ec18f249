"""`F.interpolate` against its definition in NumPy, its gradients, what it refuses."""

from __future__ import annotations

from typing import Any

import lucid
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle import uniform
from tests.oracle.tolerances import assert_close

MODES: list[dict[str, Any]] = [
    {"mode": "nearest"},
    {"mode": "nearest-exact"},
    {"mode": "trilinear"},
    {"mode": "trilinear", "align_corners": True},
    {"mode": "area"},
]
SIZES = [
    ((4, 3, 5), (8, 6, 10)),
    ((4, 3, 5), (6, 7, 5)),
    ((6, 5, 8), (2, 3, 4)),
    ((1, 5, 4), (3, 1, 9)),
    ((1, 2, 1), (2, 4, 2)),
    ((5, 4, 3), (5, 4, 3)),
]


def matrix(size: int, outputs: int, mode: str, align_corners: bool = False):
    """What each output takes of each voxel, from the definition."""
    weights = np.zeros((outputs, size))
    for i in range(outputs):
        if mode == "area":
            covered = slice(i * size // outputs, -(-(i + 1) * size // outputs))
            weights[i, covered] = 1 / (covered.stop - covered.start)
            continue
        if mode == "nearest":
            place = i * size // outputs
        elif mode == "nearest-exact":
            place = (2 * i + 1) * size // (2 * outputs)
        elif align_corners:
            place = i * (size - 1) / max(outputs - 1, 1)
        else:
            place = np.clip((i + 0.5) * size / outputs - 0.5, 0, size - 1)
        below = min(int(place), size - 1)
        weights[i, below] += 1 - (place - below)
        weights[i, min(below + 1, size - 1)] += place - below
    return weights


def expected(x: np.ndarray, size: tuple[int, ...], **options: Any) -> np.ndarray:
    """In float64, one axis after the other."""
    x = x.astype(np.float64)
    for axis, outputs in enumerate(size, start=2):
        weights = matrix(x.shape[axis], outputs, **options)
        x = np.moveaxis(np.tensordot(weights, x, (1, axis)), 0, axis)
    return x


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize(("before", "after"), SIZES, ids=str)
def test_output_and_gradient_equal_the_definition(before, after, options):
    rng = np.random.default_rng(0)
    x = uniform(rng, (2, 3, *before))
    dy = uniform(rng, (2, 3, *after))
    (got,), (dx,) = mx.vjp(
        lambda x: F.interpolate(x, after, **options), [mx.array(x)], [mx.array(dy)]
    )
    assert_close(got, expected(x, after, **options), "output")
    adjoint = dy.astype(np.float64)
    for axis, (n, outputs) in enumerate(zip(before, after, strict=True), start=2):
        weights = matrix(n, outputs, **options)
        adjoint = np.moveaxis(np.tensordot(weights.T, adjoint, (1, axis)), 0, axis)
    assert_close(dx, adjoint, "dx")


@pytest.mark.parametrize("options", MODES, ids=str)
def test_gradient_of_the_gradient_is_the_interpolation(options):
    rng = np.random.default_rng(0)
    x, tangent = uniform(rng, (1, 2, 4, 3, 5)), uniform(rng, (1, 2, 4, 3, 5))
    size = (6, 2, 10)

    def inner(dy: mx.array) -> mx.array:
        _, (dx,) = mx.vjp(
            lambda x: F.interpolate(x, size, **options), [mx.array(x)], [dy]
        )
        return (dx * mx.array(tangent)).sum()

    want = expected(tangent, size, **options)
    assert_close(mx.grad(inner)(mx.ones(want.shape)), want, "d2y")


@pytest.mark.parametrize("options", MODES, ids=str)
def test_jvp_is_the_interpolation_of_the_tangent(options):
    x, tangent = lucid.randn(1, 2, 4, 3, 5), lucid.randn(1, 2, 4, 3, 5)

    def function(x: mx.array) -> mx.array:
        return F.interpolate(x, (6, 2, 10), **options)

    _, (got,) = mx.jvp(function, [x], [tangent])
    assert mx.array_equal(got, function(tangent))


def test_a_factor_rounds_the_size_down():
    x = lucid.zeros(1, 1, 5, 7, 9)
    assert F.interpolate(x, scale_factor=1.5).shape == (1, 1, 7, 10, 13)
    assert F.interpolate(x, scale_factor=(2, 0.5, 1)).shape == (1, 1, 10, 3, 9)


def test_recompute_scale_factor_takes_the_rounded_size():
    x = lucid.randn(1, 1, 5, 5, 5)
    options = {"scale_factor": 1.5, "mode": "trilinear"}
    by_size = F.interpolate(x, 7, mode="trilinear")
    recomputed = F.interpolate(x, recompute_scale_factor=True, **options)
    assert mx.array_equal(recomputed, by_size)
    assert not mx.array_equal(F.interpolate(x, **options), by_size)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("dtype", [mx.int32, mx.uint8, mx.bool_, mx.int64], ids=str)
def test_labels_are_copied(mode, dtype):
    x = (mx.arange(24) % 7).astype(dtype)
    if dtype == mx.int64:
        x = x * 2**40
    got = F.interpolate(x.reshape(1, 1, 2, 3, 4), (4, 2, 6), mode=mode)
    assert got.dtype == dtype
    assert set(got.flatten().tolist()) <= set(x.tolist())


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_types_are_summed_in_float32(options, dtype):
    """Output and gradient are the float32 ones, rounded once."""
    rng = np.random.default_rng(0)
    x = mx.array(uniform(rng, (1, 2, 4, 5, 6))).astype(dtype)
    dy = mx.array(uniform(rng, (1, 2, 9, 15, 5))).astype(dtype)
    results = []
    for cast in (dtype, mx.float32):
        ys, dxs = mx.vjp(
            lambda x: F.interpolate(x, (9, 15, 5), **options),
            [x.astype(cast)],
            [dy.astype(cast)],
        )
        results.append([ys[0].astype(dtype), dxs[0].astype(dtype)])
    for half, single in zip(*results, strict=True):
        assert mx.array_equal(half, single)


@pytest.mark.parametrize("options", MODES, ids=str)
def test_what_is_not_finite_stays_where_it_is(options):
    x = np.ones((1, 1, 8, 8, 8), np.float32)
    x[0, 0, 4, 4, 4] = np.inf
    y = np.array(F.interpolate(mx.array(x), (12, 6, 10), **options))[0, 0]
    assert np.isfinite(y[:4]).all()
    assert np.isfinite(y[:, :1]).all()
    assert np.isfinite(y[:, :, :3]).all()
    assert not np.isfinite(y).all()


@pytest.mark.parametrize("place", [0, 3, 7])
def test_twice_as_large_what_is_not_finite_reaches_its_neighbors_alone(place):
    def double(x: mx.array) -> mx.array:
        return F.interpolate(x, scale_factor=2, mode="trilinear")

    x = np.ones((1, 1, 8, 8, 8), np.float32)
    x[0, 0, place, place, place] = np.nan
    y = double(mx.array(x))
    near = slice(max(2 * place - 1, 0), 2 * place + 3)
    assert np.isnan(np.array(y)[0, 0, near, near, near]).all()
    assert np.isnan(np.array(y)).sum() == len(range(16)[near]) ** 3
    dy = np.ones(y.shape, np.float32)
    dy[0, 0, 2 * place + 1, 2 * place + 1, 2 * place + 1] = np.nan
    _, (dx,) = mx.vjp(double, [mx.array(x)], [mx.array(dy)])
    near = slice(place, place + 2)
    assert np.isnan(np.array(dx)[0, 0, near, near, near]).all()
    assert np.isnan(np.array(dx)).sum() == len(range(8)[near]) ** 3


def test_two_runs_give_the_same_bits():
    x, dy = lucid.randn(2, 3, 5, 6, 7), lucid.randn(2, 3, 11, 9, 13)

    def gradient() -> mx.array:
        _, (dx,) = mx.vjp(
            lambda x: F.interpolate(x, (11, 9, 13), mode="trilinear"), [x], [dy]
        )
        return dx

    assert mx.array_equal(gradient(), gradient())


def test_plain_operations_can_be_exported(tmp_path):
    x = lucid.randn(1, 2, 4, 5, 6)
    path = str(tmp_path / "up.mlxfn")

    def up(x: mx.array) -> mx.array:
        return F.interpolate(x, (7, 10, 3), mode="trilinear")

    with lucid.plain_operations():
        mx.export_function(path, up, x)
        plain = mx.grad(lambda x: up(x).square().sum())(x)
    (got,) = mx.import_function(path)(x)
    assert mx.array_equal(got, up(x))
    assert_close(plain, mx.grad(lambda x: up(x).square().sum())(x), "dx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of `size`"),
        ({"size": 4, "scale_factor": 2}, "exactly one of `size`"),
        ({"size": 0}, "`size`"),
        ({"size": (4, 4)}, "`size`"),
        ({"size": 10**9}, "more than this machine can hold"),
        ({"scale_factor": 0}, "`scale_factor`"),
        ({"scale_factor": (2, 2)}, "`scale_factor`"),
        ({"scale_factor": float("inf")}, "`scale_factor`"),
        ({"scale_factor": float("nan")}, "`scale_factor`"),
        ({"scale_factor": 1e300}, "more than this machine can hold"),
        ({"scale_factor": 0.1}, "leaves nothing"),
        ({"size": 4, "mode": "linear"}, "`mode`"),
        ({"size": 4, "align_corners": True}, "`align_corners`"),
        ({"size": 4, "mode": "area", "align_corners": False}, "`align_corners`"),
        ({"size": 4, "recompute_scale_factor": True}, "`recompute_scale_factor`"),
        ({"size": 4, "mode": "trilinear", "antialias": True}, "`antialias`"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        F.interpolate(lucid.ones(1, 1, 4, 4, 4), **options)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"size": 4.0}, "size"),
        ({"size": "4"}, "size"),
        ({"scale_factor": "2"}, "scale_factor"),
        ({"scale_factor": True}, "scale_factor"),
        ({"scale_factor": (2, 2, None)}, "scale_factor"),
        ({"size": 4, "mode": None}, "mode"),
        ({"size": 4, "mode": "trilinear", "align_corners": "no"}, "align_corners"),
    ],
    ids=str,
)
def test_a_wrong_type_is_refused_by_name(options, name):
    with pytest.raises(TypeError, match=f"`{name}` "):
        F.interpolate(lucid.ones(1, 1, 4, 4, 4), **options)


@pytest.mark.parametrize("shape", [(4, 4, 4), (2, 4, 4, 4), (1, 1, 0, 4, 4)], ids=str)
def test_what_is_no_batch_of_volumes_is_refused(shape):
    with pytest.raises(ValueError, match="`input`"):
        F.interpolate(lucid.ones(shape), 4)


@pytest.mark.parametrize("mode", ["trilinear", "area"])
@pytest.mark.parametrize("dtype", [mx.int32, mx.float64], ids=str)
def test_only_floats_are_interpolated(mode, dtype):
    with mx.stream(mx.cpu), pytest.raises(TypeError, match="`input` "):
        F.interpolate(mx.zeros((1, 1, 4, 4, 4), dtype), 8, mode=mode)
