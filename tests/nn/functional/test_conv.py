"""`F.conv3d` against the float64 oracle, over every combination of its options."""

from __future__ import annotations

from pathlib import Path

import lucid.nn.functional as F
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
    random_problem,
    to_mlx,
    uniform,
)
from tests.oracle.tolerances import assert_close


def check(case: Problem, seed: int = 0, dtype: mx.Dtype = mx.float32) -> None:
    """The output and all gradients are the oracle's."""
    rng = np.random.default_rng(seed)
    # The oracle gets what the dtype can hold, so that only the operation is judged.
    inputs = to_mlx(case.draw(rng), dtype)
    arrays = [np.array(array.astype(mx.float32)) for array in inputs]
    want = direct.conv3d(*arrays, **case.options)
    cotangent = to_mlx([uniform(rng, want.shape)], dtype)
    (got,), gradients = mx.vjp(case.function, inputs, cotangent)
    assert got.dtype == dtype
    assert_close(got, want, "output", dtype)
    c = np.array(cotangent[0].astype(mx.float32))
    exact = direct.conv3d_gradients(*arrays[:2], c, **case.options)
    for name, gradient, expected in zip("xwb", gradients, exact, strict=False):
        assert gradient.dtype == dtype
        assert_close(gradient, expected, f"d{name}", dtype)


@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_output_and_gradients_are_exact(channels, mode, spatial):
    check(problem(channels, mode, spatial))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (1,), (3,)], ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_batches_and_biases_are_optional(channels, mode, batch, bias):
    shape = (*batch, CHANNELS[channels][0], 4, 3, 5)
    check(problem(channels, mode, SPATIAL[0], input_shape=shape, bias=bias))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(
    ("mode", "padding"),
    [("zeros", 5), ("reflect", 1), ("replicate", 5), ("circular", 2)],
)
def test_padding_up_to_the_limit_of_its_mode(channels, mode, padding):
    check(problem(channels, mode, ((2, 2, 2), 1, 1, padding, (2, 2, 2))))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_types_are_rounded_once(channels, mode, dtype):
    check(problem(channels, mode, SPATIAL[0]), dtype=dtype)


@pytest.mark.parametrize(("channels", "groups"), [(2, 1), (8, 8)])
def test_a_volume_keeps_the_accuracy_of_its_gradients(channels, groups):
    """Sums over 2**15 voxels, where one running float32 sum would show."""
    shapes = (1, channels, 32, 32, 32), (channels, channels // groups, 3, 3, 3)
    check(Problem(*shapes, padding=1, groups=groups))


def test_the_bias_gradient_of_a_constant_is_exact():
    """A running float32 sum rounds equal terms all one way: 3e-3 here."""
    y = mx.full((1, 1, 64, 64, 64), 0.7)
    weight = mx.ones((1, 1, 1, 1, 1))
    got = mx.grad(lambda b: (F.conv3d(y, weight, b) * y).sum())(mx.zeros(1))
    assert_close(got, np.array([64**3 * float(np.float32(0.7))]), "db")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_an_empty_batch_has_zero_gradients(channels, mode):
    case = problem(channels, mode, SPATIAL[0])
    shape = (0, *case.input_shape[1:])
    _, weight, bias = to_mlx(case.draw(np.random.default_rng(0)))
    y = case.function(mx.zeros(shape), weight, bias)
    assert y.shape == (0, CHANNELS[channels][1], 4, 5, 3)
    arrays = (mx.zeros(shape), weight, bias)
    _, gradients = mx.vjp(case.function, arrays, [mx.ones(y.shape)])
    for gradient, array in zip(gradients, arrays, strict=True):
        assert gradient.shape == array.shape
        assert not np.array(gradient).any()


@pytest.mark.parametrize("spatial", SPATIAL[5:8], ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_second_gradients_are_exact(channels, mode, spatial):
    """Convolution is bilinear, so the oracle gives its second gradients too.

    With dx, dw, db the gradients of <c, conv(x, w) + b>, the derivatives of
    S = <u, dx> + <v, dw> + <t, db> are: in x the input gradient with kernel v, in w
    the weight gradient with input u, in c the tangent conv(u, w) + conv(x, v) + t.
    """
    case = problem(channels, mode, spatial)
    rng = np.random.default_rng(0)
    x, w, b = case.draw(rng)
    u, v, t = case.draw(rng)
    c = uniform(rng, direct.conv3d(x, w, **case.options).shape)

    def inner(*arrays):
        _, (dx, dw, db) = mx.vjp(case.function, arrays[:3], arrays[3:])
        mx_u, mx_v, mx_t = to_mlx([u, v, t])
        return (mx_u * dx).sum() + (mx_v * dw).sum() + (mx_t * db).sum()

    dx, dw, db, dc = mx.grad(inner, argnums=(0, 1, 2, 3))(*to_mlx([x, w, b, c]))
    want_dx = direct.conv3d_gradients(x, v, c, **case.options)[0]
    want_dw = direct.conv3d_gradients(u, w, c, **case.options)[1]
    tangent = direct.conv3d(u, w, t, **case.options)
    assert_close(dx, want_dx, "d2x")
    assert_close(dw, want_dw, "d2w")
    assert_close(db, np.zeros(b.shape), "d2b")
    assert_close(dc, tangent + direct.conv3d(x, v, **case.options), "d2c")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", CHANNELS)
class TestTransformations:
    """Each MLX transformation of the function agrees with the plain call."""

    @pytest.fixture
    def case(self, channels, mode) -> Problem:
        return problem(channels, mode)

    @pytest.fixture
    def arrays(self, case) -> list[mx.array]:
        return to_mlx(case.draw(np.random.default_rng(0)))

    def test_vmap_over_inputs(self, case, arrays):
        f, (x, *rest) = case.function, arrays
        got = mx.vmap(f, in_axes=(0, None, None))(mx.stack([x, 2 * x]), *rest)
        assert_close(got, mx.stack([f(x, *rest), f(2 * x, *rest)]), "output")

    def test_vmap_over_weights(self, case, arrays):
        f, (x, w, b) = case.function, arrays
        got = mx.vmap(f, in_axes=(None, 0, 0))(
            x, mx.stack([w, 2 * w]), mx.stack([b, 3 * b])
        )
        assert_close(got, mx.stack([f(x, w, b), f(x, 2 * w, 3 * b)]), "output")

    def test_jvp(self, case, arrays):
        u, v, t = case.draw(np.random.default_rng(1))
        x, w, _ = map(np.array, arrays)
        _, (got,) = mx.jvp(case.function, arrays, to_mlx([u, v, t]))
        want = direct.conv3d(u, w, t, **case.options)
        assert_close(got, want + direct.conv3d(x, v, **case.options), "tangent")

    def test_compile(self, case, arrays):
        compiled = mx.compile(case.function)
        assert_close(compiled(*arrays), case.function(*arrays), "output")

    @pytest.mark.parametrize("transform", [mx.compile, mx.checkpoint])
    def test_gradients_of_compile_and_checkpoint(self, case, arrays, transform):
        def gradients(f):
            return mx.grad(lambda *xs: f(*xs).square().sum(), (0, 1, 2))(*arrays)

        for got, want in zip(
            gradients(transform(case.function)), gradients(case.function), strict=True
        ):
            assert_close(got, want, "gradient")

    def test_export(self, case, arrays, tmp_path: Path):
        file = str(tmp_path / "conv3d.mlxfn")
        mx.export_function(file, case.function, *arrays)
        (got,) = mx.import_function(file)(*arrays)
        assert_close(got, case.function(*arrays), "output")


@pytest.mark.parametrize("channels", CHANNELS)
def test_views_of_arrays_are_as_good_as_arrays(channels):
    case = problem(channels)
    arrays = case.draw(np.random.default_rng(0))
    channels_last = np.ascontiguousarray(np.moveaxis(arrays[0], 1, -1))
    view = mx.array(channels_last).transpose(0, 4, 1, 2, 3)
    flipped = mx.array(arrays[1][..., ::-1].copy())[..., ::-1]
    bias = mx.broadcast_to(mx.array(1.5), arrays[2].shape)
    want = direct.conv3d(*arrays[:2], np.full(arrays[2].shape, 1.5), **case.options)
    assert_close(case.function(view, flipped, bias), want, "output")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("channels", CHANNELS)
def test_a_nan_reaches_only_the_outputs_that_see_it(channels, value):
    case = problem(channels, spatial=((3, 2, 3), (1, 1, 2), (1, 2, 1), 1, (5, 6, 7)))
    x, w, b = case.draw(np.random.default_rng(0))
    x[1, 0, 2, 3, 4] = value
    got = np.array(case.function(*to_mlx([x, w, b])))
    seen = direct.conv3d((~np.isfinite(x)).astype(float), w, **case.options) > 0
    np.testing.assert_array_equal(~np.isfinite(got), seen)


@pytest.mark.slow
@pytest.mark.usefixtures("computed_by")
@pytest.mark.parametrize("seed", range(50))
def test_random_combinations_are_exact(seed):
    rng = np.random.default_rng(seed)
    for _ in range(100):
        dtype = rng.choice([mx.float32, mx.float32, mx.float16, mx.bfloat16])
        case = random_problem(rng)
        try:
            check(case, seed, dtype)
        except Exception as error:
            raise AssertionError(f"{case} in {dtype}") from error


def call(**changes):
    """A valid call, some of its arguments replaced."""
    arguments = {"input": mx.ones((1, 2, 4, 4, 4)), "weight": mx.ones((4, 2, 3, 3, 3))}
    return F.conv3d(**{**arguments, "bias": mx.ones((4,)), **changes})


SIZES = ("stride", "padding", "dilation")
NOT_SIZES = (1.0, True, np.True_, None, float("nan"), (1, 1, 2.0), {1}, b"1", 1j)


@pytest.mark.parametrize("value", [*NOT_SIZES, mx.ones((3,)), np.ones(3)], ids=repr)
@pytest.mark.parametrize("name", [*SIZES, "groups"])
def test_a_size_that_is_no_integer_is_refused_by_name(name, value):
    with pytest.raises(TypeError, match=f"`{name}` "):
        call(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stride", "1"),
        ("dilation", "same"),
        ("groups", "2"),
        ("groups", (1, 1, 1)),
        ("padding_mode", None),
        ("padding_mode", 0),
        ("padding_mode", ["zeros"]),
        *[(name, np.ones(4, np.float32)) for name in ("input", "weight", "bias")],
        *[(name, [[1.0]]) for name in ("input", "weight", "bias")],
        *[(name, None) for name in ("input", "weight")],
    ],
)
def test_a_wrong_type_is_refused_by_name(name, value):
    with pytest.raises(TypeError, match=f"`{name}` "):
        call(**{name: value})


@pytest.mark.parametrize("value", [0, -1, -(10**9), (1, 0, 1), (1, -1, 1)], ids=str)
@pytest.mark.parametrize("name", ["stride", "dilation"])
def test_a_size_below_one_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` \(=.*at least 1"):
        call(**{name: value})


@pytest.mark.parametrize("value", [(), (1, 1), [1] * 4], ids=str)
@pytest.mark.parametrize("name", SIZES)
def test_a_size_has_one_or_three_numbers(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` \(=.*an int or three ints"):
        call(**{name: value})


@pytest.mark.parametrize("name", SIZES)
def test_a_size_of_one_number_holds_for_every_axis(name):
    large = {"padding": 2, name: 2}
    assert call(**{**large, name: (2,)}).shape == call(**large).shape


SHAPES = {"input": (1, 2, 4, 4, 4), "weight": (4, 2, 3, 3, 3), "bias": (4,)}
UNSUPPORTED = (mx.float64, mx.int32, mx.uint8, mx.bool_, mx.complex64)


@pytest.mark.parametrize("dtype", UNSUPPORTED, ids=str)
@pytest.mark.parametrize("names", [("input",), ("weight",), ("weight", "input")])
def test_other_dtypes_are_refused_naming_the_three(names, dtype):
    with mx.stream(mx.cpu):
        arrays = {name: mx.zeros(SHAPES[name], dtype) for name in names}
    message = f"`{names[0]}` .*float32, float16 or bfloat16"
    with pytest.raises(TypeError, match=message):
        call(**arrays)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float64], ids=str)
def test_mixed_dtypes_are_refused(name, dtype):
    with mx.stream(mx.cpu):
        array = mx.zeros(SHAPES[name], dtype)
    with pytest.raises(TypeError, match=r"`(input|weight|bias)` \(=.*float32"):
        call(**{name: array})


@pytest.mark.usefixtures("computed_by")
@pytest.mark.parametrize("mode", ["replicate", "reflect", "circular"])
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_gradients_of_padded_half_types_are_rounded_once(mode, dtype):
    x = mx.ones((1, 2, 4, 4, 4))
    w = mx.random.uniform(0.5, 1.5, (2, 2, 1, 1, 1), key=mx.random.key(0))
    c = mx.random.uniform(0.5, 1.5, (1, 2, 10, 10, 10), key=mx.random.key(1))

    def gradient(x: mx.array, w: mx.array, c: mx.array) -> mx.array:
        def score(x: mx.array) -> mx.array:
            y = F.conv3d(x, w, padding=3, padding_mode=mode)
            return (y * c).astype(mx.float32).sum()

        return mx.grad(score)(x).astype(mx.float32)

    w, c = w.astype(dtype), c.astype(dtype)
    got = gradient(x.astype(dtype), w, c)
    want = gradient(x, w.astype(mx.float32), c.astype(mx.float32))
    assert mx.abs(got / want - 1).max().item() < 0.51 * mx.finfo(dtype).eps
