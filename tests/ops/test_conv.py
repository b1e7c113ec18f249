"""A convolution and its gradients are each other's derivatives, to any order."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import functools
import io
from typing import Any

from lucid.geometry import ConvGeometry, check_padding, conv_geometry
from lucid.metal.conv import TWIN
from lucid.ops import conv
from lucid.ops.conv import Formulation
from lucid.ops.conv_mlx import MLX_BY_GROUP
from lucid.ops.conv_plain import COLUMNS
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle import CHANNELS, MODES, SPATIAL, problem, to_mlx
from tests.oracle.direct import triple
from tests.oracle.tolerances import assert_close

PASSES = ("forward", "input_gradient", "weight_gradient")
NAMES = ("x", "w", "b")

Function = Callable[..., mx.array]


def setting(
    channels: str = "grouped",
    mode: str = "zeros",
    spatial: tuple[Any, ...] = SPATIAL[7],
) -> tuple[ConvGeometry, list[mx.array]]:
    """A geometry, and x, w and b."""
    case = problem(channels, mode, spatial)
    stride = triple(case.stride)
    geometry = conv_geometry(
        case.input_shape,
        case.weight_shape,
        stride,
        check_padding(case.padding, stride),
        triple(case.dilation),
        case.groups,
        mode,
    )
    x, w, b = to_mlx(case.draw(np.random.default_rng(0)))
    return geometry, [x, w, b]


def plain(geometry: ConvGeometry) -> Function:
    """Operations that MLX differentiates by itself."""

    def convolve(x: mx.array, w: mx.array, b: mx.array | None = None) -> mx.array:
        return conv.conv3d(COLUMNS, x, w, b, geometry)

    return convolve


def ours(geometry: ConvGeometry, formulation: Formulation = TWIN) -> Function:
    def convolve(x: mx.array, w: mx.array, b: mx.array | None = None) -> mx.array:
        return conv.conv3d(formulation, x, w, b, geometry)

    return convolve


def derivative(convolve: Function, order: tuple[int, ...]) -> Function:
    """One argument after another: the gradient of the sum of squares of the last."""
    function = convolve
    for argument in order:

        def loss(*arrays: mx.array, function: Function = function) -> mx.array:
            return mx.square(function(*arrays)).mean()

        function = mx.grad(loss, argnums=argument)
    return function


def names_of(order: tuple[int, ...]) -> str:
    return "y " + " ".join(f"d{NAMES[argument]}" for argument in order)


@pytest.mark.parametrize("spatial", [SPATIAL[0], *SPATIAL[5:8]], ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", ["dense", "grouped", "depthwise"])
def test_the_value_and_first_derivatives_are_autodiffs(channels, mode, spatial):
    geometry, arrays = setting(channels, mode, spatial)
    assert_close(ours(geometry)(*arrays), plain(geometry)(*arrays), "y")
    for order in ((0,), (1,), (2,)):
        want = derivative(plain(geometry), order)(*arrays)
        assert_close(derivative(ours(geometry), order)(*arrays), want, names_of(order))


@pytest.mark.parametrize("order", [(i, j) for i in range(3) for j in range(3)], ids=str)
@pytest.mark.parametrize("channels", ["dense", "grouped", "depthwise"])
def test_second_and_mixed_derivatives_are_autodiffs(channels, order):
    geometry, arrays = setting(channels, "reflect")
    want = derivative(plain(geometry), order)(*arrays)
    assert_close(derivative(ours(geometry), order)(*arrays), want, names_of(order))


@pytest.mark.parametrize("order", [(0, 1, 0), (1, 0, 1), (1, 1, 0), (2, 0, 1)], ids=str)
def test_third_derivatives_are_autodiffs(order):
    geometry, arrays = setting()
    want = derivative(plain(geometry), order)(*arrays)
    assert_close(derivative(ours(geometry), order)(*arrays), want, names_of(order))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("order", [(0,), (1,), (0, 1), (1, 0), (1, 1)], ids=str)
def test_mlxs_conv3d_has_the_same_derivatives(channels, order):
    geometry, arrays = setting(channels)
    want = derivative(plain(geometry), order)(*arrays)
    got = derivative(ours(geometry, MLX_BY_GROUP), order)(*arrays)
    assert_close(got, want, names_of(order))


def recording(called: list[str]) -> Formulation:
    """A formulation that notes which of its functions run, and stops MLX's autodiff."""

    def noting(name: str, function: Function) -> Function:
        @functools.wraps(function)
        def noted(*arguments: Any) -> mx.array:
            called.append(name)
            return mx.stop_gradient(function(*arguments))

        return noted

    passes = {name: noting(name, getattr(TWIN, name)) for name in PASSES}
    return dataclasses.replace(TWIN, **passes)


def test_every_derivative_is_computed_by_the_formulation():
    """Nothing but its three functions, even where MLX cannot differentiate them."""
    geometry, arrays = setting()
    called: list[str] = []
    convolve = ours(geometry, recording(called))
    for order in ((0,), (0, 0), (0, 1), (1, 0), (1, 1)):
        want = derivative(plain(geometry), order)(*arrays)
        assert_close(derivative(convolve, order)(*arrays), want, names_of(order))
    assert set(called) == set(PASSES)


@pytest.mark.parametrize("order", [(0,), (1, 0)], ids=str)
def test_compiled_derivatives_are_the_same(order):
    geometry, arrays = setting()
    want = derivative(plain(geometry), order)(*arrays)
    compiled = mx.compile(derivative(ours(geometry), order))
    assert_close(compiled(*arrays), want, "compiled")
    assert_close(compiled(*arrays), want, "compiled, called again")


@pytest.mark.parametrize("order", [(), (0,), (1,), (2,), (1, 0)], ids=str)
def test_checkpointed_derivatives_are_the_same(order):
    geometry, arrays = setting()
    want = derivative(plain(geometry), order)(*arrays)
    checkpointed = mx.checkpoint(ours(geometry))
    assert_close(derivative(checkpointed, order)(*arrays), want, names_of(order))


def test_a_formulation_of_operations_is_vmapped():
    geometry, (x, w, b) = setting()
    xs = mx.stack([x, 2 * x, x + 1])
    got = mx.vmap(ours(geometry), in_axes=(0, None, None))(xs, w, b)
    want = mx.stack([plain(geometry)(one, w, b) for one in xs])
    assert_close(got, want, "y")


def test_without_bias_there_are_two_gradients():
    geometry, (x, w, _) = setting()
    assert_close(ours(geometry)(x, w), plain(geometry)(x, w), "y")
    for order in ((0,), (1,), (0, 1), (1, 0)):
        want = derivative(plain(geometry), order)(x, w)
        assert_close(derivative(ours(geometry), order)(x, w), want, names_of(order))
    y = ours(geometry)(x, w)
    _, gradients = mx.vjp(lambda x, w: ours(geometry)(x, w), [x, w], [mx.ones(y.shape)])
    assert [g.shape for g in gradients] == [x.shape, w.shape]


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_the_bias_gradient_of_half_types_is_summed_in_float32(dtype):
    """A half type would stop at 2048 or 256 ones; MLX's CPU sums in float32 anyway."""
    one = (1, 1, 1)
    shapes = (1, 1, 32, 32, 32), (2, 1, 1, 1, 1)
    geometry = conv_geometry(*shapes, one, (0, 0, 0), one, 1, "zeros")
    x, w = mx.zeros((1, 1, 32, 32, 32), dtype), mx.zeros((2, 1, 1, 1, 1), dtype)
    cotangent = mx.ones((1, 2, 32, 32, 32), dtype)
    mx.eval(cotangent)
    _, (db,) = mx.vjp(
        lambda b: ours(geometry)(x, w, b), [mx.zeros(2, dtype)], [cotangent]
    )
    graph = io.StringIO()
    mx.export_to_dot(graph, db)
    assert graph.getvalue().count("AsType") == 2  # to float32 and back
    assert db.dtype == dtype
    assert db.tolist() == [32**3, 32**3]


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_every_gradient_of_half_types_is_of_their_dtype(dtype):
    geometry, arrays = setting()
    arrays = [array.astype(dtype) for array in arrays]
    for order in ((), (0,), (1,), (2,), (0, 1), (1, 0)):
        got = derivative(ours(geometry), order)(*arrays)
        assert got.dtype == dtype, names_of(order)
