"""The CPU's formulations agree with the oracle, in every transformation."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses

from lucid import dispatch
from lucid.geometry import ConvGeometry
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
from tests.test_composed import geometry_of

# kernel, stride, dilation, padding, size: three taps deep, tiles full, cut and wasted
WINOGRAD_SPATIAL = [
    ((3, 3, 3), 1, 1, 1, (4, 5, 3)),
    ((3, 3, 3), 1, 1, "valid", (6, 4, 5)),
    ((3, 2, 4), 1, 1, "same", (7, 3, 5)),
    ((3, 1, 2), 1, 1, (2, 0, 1), (5, 3, 4)),
    ((3, 5, 1), 1, 1, (0, 4, 0), (9, 2, 3)),
    ((3, 3, 3), 1, 1, (1, 2, 0), (1, 4, 4)),
]
SPATIALS = {"grid": SPATIAL, "gathered": SPATIAL, "winograd": WINOGRAD_SPATIAL}
CASES = [
    (name, channels, mode, spatial)
    for name, spatials in SPATIALS.items()
    for channels in CHANNELS
    for mode in MODES
    for spatial in spatials
    if name != "winograd" or CHANNELS[channels][2] == 1  # it has no groups
]


def fits(case: Problem) -> bool:
    """Reflect needs more voxels than padding, circular as many."""
    pairs = direct.padding_pairs(
        case.padding, case.weight_shape[2:], direct.triple(case.dilation)
    )
    room = {"reflect": 1, "circular": 0}.get(case.padding_mode, -(10**6))
    return all(
        max(pair) + room <= size
        for pair, size in zip(pairs, case.input_shape[-3:], strict=True)
    )


def function_of(name: str, case: Problem) -> Callable[..., mx.array]:
    geometry = geometry_of(case)
    return lambda x, w, b=None: dispatch._CPU[name](x, w, b, geometry)


def check(name: str, case: Problem, rng: np.random.Generator) -> None:
    arrays = case.draw(rng)
    y = direct.conv3d(*arrays, **case.options)
    dy = uniform(rng, y.shape)
    exact = direct.conv3d_gradients(*arrays[:2], dy, **case.options)
    function = function_of(name, case)
    (got,), gradients = mx.vjp(function, to_mlx(arrays), to_mlx([dy]))
    assert_close(got, y, f"output of {name}, {case}")
    for gradient, want in zip(gradients, exact, strict=False):
        assert_close(gradient, want, f"a gradient of {name}, {case}")


@pytest.mark.parametrize(("name", "channels", "mode", "spatial"), CASES)
def test_outputs_and_gradients_equal_the_oracles(name, channels, mode, spatial):
    case = problem(channels, mode, spatial)
    if not fits(case):
        case = dataclasses.replace(case, padding_mode="replicate")
    check(name, case, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["grid", "gathered"])
@pytest.mark.parametrize("seed", range(5))
def test_random_problems_equal_the_oracles(name, seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        case = random_problem(rng)
        if len(case.input_shape) == 5:
            check(name, case, rng)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        *[("grid", "dense"), ("grid", "depthwise")],
        *[("gathered", "dense"), ("gathered", "depthwise"), ("winograd", "dense")],
    ],
)
class TestTransformations:
    """Each transformation of MLX's agrees with the same of `columns`."""

    @pytest.fixture
    def case(self, channels) -> Problem:
        return problem(channels, "reflect", WINOGRAD_SPATIAL[0])

    @pytest.fixture
    def arrays(self, case) -> list[mx.array]:
        return to_mlx(case.draw(np.random.default_rng(0)))

    def test_jvp(self, name, case, arrays):
        tangents = to_mlx(case.draw(np.random.default_rng(1)))
        for given in ([0, 1, 2], [0], [1], [2]):

            def of_given(function, given=given):
                def call(*chosen):
                    full = list(arrays)
                    for i, array in zip(given, chosen, strict=True):
                        full[i] = array
                    return function(*full)

                chosen = [arrays[i] for i in given]
                return mx.jvp(call, chosen, [tangents[i] for i in given])[1][0]

            want = of_given(function_of("columns", case))
            got = of_given(function_of(name, case))
            assert_close(got, np.array(want), f"tangent of {given}")

    def test_vmap_of_values_and_gradients(self, name, case, arrays):
        def per_sample(function):
            def loss(x, w, b):
                return function(x, w, b).square().mean()

            x, w, b = arrays
            xs = mx.stack([x, 2 * x, 0.5 * x])
            ws = mx.stack([w, 3 * w, 0.2 * w])
            over_inputs = mx.vmap(mx.value_and_grad(loss, (0, 1, 2)), (0, None, None))
            over_weights = mx.vmap(mx.grad(loss, (0, 1, 2)), (None, 0, None))
            value, gradients = over_inputs(xs, w, b)
            return [value, *gradients, *over_weights(x, ws, b)]

        want = per_sample(function_of("columns", case))
        for a, b in zip(per_sample(function_of(name, case)), want, strict=True):
            assert_close(a, np.array(b), "per sample")

    def test_second_gradients(self, name, case, arrays):
        def slopes(function):
            def loss(*xs):
                return function(*xs).square().mean()

            def slope(*xs):
                return sum(g.square().mean() for g in mx.grad(loss, (0, 1, 2))(*xs))

            return mx.grad(slope, (0, 1, 2))(*arrays)

        want = slopes(function_of("columns", case))
        for a, b in zip(slopes(function_of(name, case)), want, strict=True):
            assert_close(a, np.array(b), "second gradient")

    @pytest.mark.parametrize("transform", [mx.compile, mx.checkpoint])
    def test_compile_and_checkpoint(self, name, case, arrays, transform):
        def gradients(function):
            def loss(*xs):
                return function(*xs).square().mean()

            return mx.grad(loss, (0, 1, 2))(*arrays)

        function = function_of(name, case)
        for a, b in zip(
            gradients(transform(function)), gradients(function), strict=True
        ):
            assert_close(a, np.array(b), "gradient")


def geometry(c: int, o: int, groups: int, size: int) -> ConvGeometry:
    one, sides = (1, 1, 1), ((1, 1),) * 3
    return ConvGeometry(
        *(1, c, o, (size,) * 3, (3, 3, 3), one, sides, one, groups, "zeros")
    )


@pytest.mark.parametrize(
    ("name", "sizes", "most"),
    [("grid", (16, 16, 16, 24), 12), ("winograd", (16, 16, 1, 32), 24)],
)
def test_forward_and_backward_hold_no_multiple_of_the_kernel(name, sizes, most):
    """Where mx.conv3d holds 27 inputs and more for the weight gradient alone."""
    g = geometry(*sizes)
    x = mx.ones((1, sizes[0], *g.input_size))
    w = mx.ones((sizes[1], sizes[0] // g.groups, 3, 3, 3))
    dy = mx.ones(g.output_shape)

    def peak(name: str) -> float:
        mx.eval(x, w, dy)
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(mx.vjp(lambda x, w: dispatch._CPU[name](x, w, None, g), [x, w], [dy]))
        return (mx.get_peak_memory() - before) / x.nbytes

    assert peak(name) < most
    assert peak("native" if g.groups == 1 else "columns") > 1.5 * most
