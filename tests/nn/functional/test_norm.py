"""Normalization against its formula in NumPy float64, statistics included."""

from __future__ import annotations

import lucid
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle.tolerances import assert_close

SHAPE = (3, 4, 5, 6, 7)


def draw(mean: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(SHAPE) + mean).astype(np.float32)


def formula(x, axes, eps=1e-5):
    x = np.asarray(x, float)
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + eps)


def group_formula(x):
    return formula(np.asarray(x).reshape(3, 2, 2, 5, 6, 7), (2, 3, 4, 5)).reshape(SHAPE)


# name: (the function without its affine part, its formula)
CASES = {
    "batch": (
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: formula(x, (0, 2, 3, 4)),
    ),
    "instance": (F.instance_norm, lambda x: formula(x, (2, 3, 4))),
    "group": (lambda x: F.group_norm(x, 2), group_formula),
    "layer": (lambda x: F.layer_norm(x, (6, 7)), lambda x: formula(x, (3, 4))),
}
of_every_norm = pytest.mark.parametrize("name", CASES)


@of_every_norm
@pytest.mark.parametrize("mean", [0.0, 30.0, 1e4])
def test_a_norm_is_its_formula_whatever_the_mean(name, mean):
    function, exact = CASES[name]
    x = draw(mean)
    assert_close(function(mx.array(x)), exact(x), name)


@of_every_norm
def test_a_norm_of_a_volume_that_begins_in_the_background_is_exact(name):
    """The guess of the mean is made from the first voxels."""
    function, exact = CASES[name]
    x = draw(1e4)
    x[:, :, 0] = 0
    assert_close(function(mx.array(x)), exact(x), name)


@pytest.mark.parametrize(
    "volume", [(4, 4, 8), (5, 32, 3), (40, 48, 40), (41, 43, 47)], ids=str
)
def test_sums_over_any_number_of_voxels_are_exact(volume):
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((2, 2, *volume)).astype(np.float32) for _ in range(2))
    x, dy = x + 3, dy + 1

    def norm(x: mx.array, bias: mx.array) -> mx.array:
        return F.instance_norm(x, None, None, mx.ones(2), bias)

    (y,), (_, dbias) = mx.vjp(norm, [mx.array(x), mx.zeros(2)], [mx.array(dy)])
    assert_close(y, formula(x, (2, 3, 4)), "instance")
    assert np.allclose(np.array(dbias), dy.sum((0, 2, 3, 4), np.float64), rtol=1e-5)


@of_every_norm
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_types_take_their_statistics_in_float32(name, dtype):
    function, exact = CASES[name]
    x = mx.array(draw(30.0)).astype(dtype)
    got = function(x)
    assert got.dtype == dtype
    assert_close(got, exact(np.array(x.astype(mx.float32))), name, dtype)


# name: a function of (x, weight, bias), and the length of these
AFFINE = {
    "batch": (lambda x, *p: F.batch_norm(x, None, None, *p, training=True), 4),
    "running": (lambda x, *p: F.batch_norm(x, mx.zeros(4), mx.ones(4), *p), 4),
    "instance": (lambda x, *p: F.instance_norm(x, None, None, *p), 4),
    "group": (lambda x, *p: F.group_norm(x, 2, *p), 4),
    "layer": (lambda x, *p: F.layer_norm(x, 7, *p), 7),
}


@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_float32_parameters_go_with_a_half_input(name, dtype):
    function, length = AFFINE[name]
    x = mx.array(draw(1.0)).astype(dtype)
    weight, bias = mx.arange(length) / 3, mx.arange(length) / 5 - 1
    got = function(x, weight, bias)
    assert got.dtype == dtype
    wide = function(x.astype(mx.float32), weight, bias)
    assert_close(got, np.array(wide), name, dtype)
    grads = mx.grad(
        lambda *a: function(*a).astype(mx.float32).square().sum(), [0, 1, 2]
    )
    assert [g.dtype for g in grads(x, weight, bias)] == [dtype, mx.float32, mx.float32]
    with pytest.raises(TypeError, match=r"`weight` .* or float32"):
        function(x.astype(mx.float32), weight.astype(dtype), bias)


@of_every_norm
def test_a_constant_volume_becomes_zero(name):
    function, _ = CASES[name]
    for value in (0.0, 3.0, 1e4):
        got = function(mx.full(SHAPE, value))
        assert mx.abs(got).max().item() < 1e-2


@of_every_norm
def test_the_gradient_of_a_norm_with_no_voxels_is_empty(name):
    function, _ = CASES[name]
    without_voxels = [(2, 4, 0, 6, 7)] if name != "group" else []  # refused, below
    for shape in ((0, *SHAPE[1:]), *without_voxels):
        x = lucid.zeros(shape)
        assert mx.grad(lambda x: function(x).sum())(x).shape == shape


@of_every_norm
def test_jvp_is_the_transpose_of_vjp(name):
    function, _ = CASES[name]
    x, u, v = (mx.array(draw(seed=seed)) for seed in range(3))
    _, (forward,) = mx.jvp(function, [x], [u])
    _, (backward,) = mx.vjp(function, [x], [v])
    assert (forward * v).sum().item() == pytest.approx(
        (backward * u).sum().item(), rel=1e-4
    )


@of_every_norm
def test_plain_operations_give_the_same(name):
    function, _ = CASES[name]
    x, v = (mx.array(draw(seed=seed)) for seed in range(2))
    want = mx.vjp(function, [x], [v])
    with lucid.plain_operations():
        got = mx.vjp(function, [x], [v])
    assert_close(got[0][0], np.array(want[0][0]), "output")
    assert_close(got[1][0], np.array(want[1][0]), "gradient")


def expected_running(x, axes, momentum):
    """Of running statistics that began at 0 and 1."""
    var = np.asarray(x, float).var(axes, ddof=1)
    mean = np.asarray(x, float).mean(axes)
    if mean.ndim == 2:
        mean, var = mean.mean(0), var.mean(0)
    return momentum * mean, (1 - momentum) + momentum * var


@pytest.mark.parametrize(
    ("norm", "axes"), [("batch", (0, 2, 3, 4)), ("instance", (2, 3, 4))]
)
@pytest.mark.parametrize(
    ("way", "momentum"),
    [
        ("plain", 0.1),
        ("plain", 1.0),
        ("plain", 0.0),
        ("grad", 0.1),
        pytest.param("compile", 0.1, marks=pytest.mark.slow),  # a C++ compiler's time
    ],
)
def test_running_statistics_move_in_place_and_once(norm, axes, way, momentum):
    x = draw(3.0)
    state = [lucid.zeros(4), lucid.ones(4)]
    held = list(state)

    def call(x):
        if norm == "batch":
            y = F.batch_norm(x, *state, training=True, momentum=momentum)
        else:
            y = F.instance_norm(x, *state, momentum=momentum)
        return y.square().sum()

    if way == "grad":
        mx.eval(mx.value_and_grad(call)(mx.array(x)))
    elif way == "compile":
        mx.eval(mx.compile(call, inputs=state, outputs=state)(mx.array(x)))
    else:
        call(mx.array(x))
        assert all(a is b for a, b in zip(state, held, strict=True))
    mean, var = expected_running(x, axes, momentum)
    assert_close(state[0], mean, "mean")
    assert_close(state[1], var, "variance")


def test_given_statistics_are_used_as_they_are():
    x, mean, var = draw(), np.arange(4.0), np.arange(1.0, 5.0)
    shape = (1, 4, 1, 1, 1)
    want = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-5)
    given = mx.array(x), mx.array(mean, mx.float32), mx.array(var, mx.float32)
    assert_close(F.batch_norm(*given), want, "batch")
    assert_close(F.instance_norm(*given, use_input_stats=False), want, "instance")
    assert given[1].tolist() == mean.tolist()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: F.batch_norm(lucid.ones(2, 3), None, None), ValueError, "running"),
        (lambda: F.batch_norm(lucid.ones(3), None, None), ValueError, "`input`"),
        (
            lambda: F.batch_norm(lucid.ones(1, 3), None, None, training=True),
            ValueError,
            "more than one value",
        ),
        (
            lambda: F.batch_norm(lucid.ones(2, 3), lucid.ones(3), None, training=True),
            ValueError,
            "together",
        ),
        (
            lambda: F.batch_norm(lucid.ones(2, 3), lucid.ones(2), lucid.ones(2)),
            ValueError,
            "`running_mean`",
        ),
        (
            lambda: F.instance_norm(lucid.ones(2, 3, 1, 1, 1)),
            ValueError,
            "more than one voxel",
        ),
        (lambda: F.group_norm(lucid.ones(2, 6, 2), 4), ValueError, "num_groups"),
        (lambda: F.group_norm(lucid.ones(2, 6, 2), 0), ValueError, "num_groups"),
        (lambda: F.layer_norm(lucid.ones(2, 3), 2), ValueError, "normalized_shape"),
        (lambda: F.layer_norm(lucid.ones(2, 3), ()), ValueError, "normalized_shape"),
        (
            lambda: F.layer_norm(lucid.ones(2, 3), 3, lucid.ones(2)),
            ValueError,
            "`weight`",
        ),
        (
            lambda: F.instance_norm(
                lucid.ones(2, 3, 4), weight=lucid.ones(3, dtype="float16")
            ),
            TypeError,
            "`weight`",
        ),
        (lambda: F.instance_norm(lucid.ones(2, 3, 4, dtype="int32")), TypeError, "int"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, error, says):
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize("shape", [(1, 0, 2), (1, 2, 0), (2, 2, 3, 0, 3)])
def test_groups_of_no_values_are_refused(shape):
    with pytest.raises(ValueError, match="`input`"):
        F.group_norm(lucid.ones(*shape), 1)
