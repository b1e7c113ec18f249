"""Every formulation that a CPU runs agrees with the oracle, in every transformation."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math

from lucid.geometry import ConvGeometry
import lucid.nn.functional as F
from lucid.ops import conv
from lucid.ops.conv import Formulation
from lucid.ops.conv_grid import GRID
from lucid.ops.conv_mlx import MLX, MLX_BY_GROUP
from lucid.ops.conv_patches import PATCHES, PATCHES_CHANNELS_LAST
from lucid.ops.conv_plain import COLUMNS, MLX_PLAIN
from lucid.ops.conv_winograd import WINOGRAD
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
from tests.oracle.tolerances import NATIVE_LOSS, assert_close, distance

FORMULATIONS = {
    "columns": COLUMNS,
    "patches": PATCHES,
    "patches, channels-last": PATCHES_CHANNELS_LAST,
    "flat grid": GRID,
    "Winograd": WINOGRAD,
    "mx.conv3d, plain": MLX_PLAIN,
    "mx.conv3d": MLX,
    "mx.conv3d by group": MLX_BY_GROUP,
}
# kernel, stride, dilation, padding, size
ODD_SPATIAL = [
    # padding of a span and more, gaps between the kernel's places, phases without a tap
    ((2, 3, 1), 1, 1, (4, 1, 3), (3, 2, 4)),
    ((3, 3, 3), (5, 4, 2), 1, (2, 0, 1), (11, 7, 6)),
    ((2, 3, 2), (2, 3, 2), (3, 2, 4), (3, 4, 1), (7, 6, 9)),
    ((1, 1, 4), (3, 2, 1), (1, 1, 2), (0, 0, 5), (4, 3, 6)),
    # three taps deep, tiles of planes full, cut and wasted
    ((3, 3, 3), 1, 1, "valid", (6, 4, 5)),
    ((3, 2, 4), 1, 1, "same", (7, 3, 5)),
    ((3, 1, 2), 1, 1, (2, 0, 1), (5, 3, 4)),
    ((3, 5, 1), 1, 1, (0, 4, 0), (9, 2, 3)),
    ((3, 3, 3), 1, 1, (1, 2, 0), (1, 4, 4)),
    # kernels within their strides, steps cut short and left over
    ((2, 2, 2), 2, 1, 0, (5, 4, 7)),
    ((2, 1, 3), (3, 2, 3), 1, 0, (5, 4, 7)),
    ((1, 2, 1), (1, 2, 3), (2, 1, 2), 0, (2, 6, 5)),
]
# of so many channels or volumes that Winograd's planes are computed in several slabs
IN_SLABS = [
    Problem((8, 1, 9, 4, 4), (600, 1, 3, 1, 2), padding=(1, 0, 1)),
    Problem((40, 600, 14, 2, 3), (1, 600, 3, 2, 1), padding=0),
    Problem((16, 2, 15, 3, 5), (400, 2, 3, 3, 3), padding=(2, 1, 1)),
    Problem((3, 400, 32, 3, 5), (2, 400, 3, 3, 2), padding=(1, 1, 0)),
]


def geometry_of(case: Problem) -> ConvGeometry:
    """Of `F.conv3d`'s arguments, sizes beside channels."""
    kernel, triple = case.weight_shape[2:], direct.triple
    pairs = direct.padding_pairs(case.padding, kernel, case.dilation)
    return ConvGeometry(
        batch=case.input_shape[0],
        in_channels=case.input_shape[1],
        out_channels=case.weight_shape[0],
        input_size=case.input_shape[2:],
        kernel_size=kernel,
        stride=triple(case.stride),
        padding=tuple(pairs),
        dilation=triple(case.dilation),
        groups=case.groups,
        padding_mode=case.padding_mode,
    )


def function_of(formulation: Formulation, case: Problem) -> Callable[..., mx.array]:
    geometry = geometry_of(case)
    return lambda x, w, b=None: conv.conv3d(formulation, x, w, b, geometry)


def check(formulation: Formulation, case: Problem, rng: np.random.Generator) -> None:
    arrays = case.draw(rng)
    y = direct.conv3d(*arrays, **case.options)
    dy = uniform(rng, y.shape)
    exact = direct.conv3d_gradients(*arrays[:2], dy, **case.options)
    function = function_of(formulation, case)
    (got,), gradients = mx.vjp(function, to_mlx(arrays), to_mlx([dy]))
    assert_close(got, y, f"output of {formulation}, {case}")
    for gradient, want in zip(gradients, exact, strict=False):
        assert_close(gradient, want, f"a gradient of {formulation}, {case}")


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", FORMULATIONS)
def test_outputs_and_gradients_equal_the_oracles(name, channels):
    formulation, rng = FORMULATIONS[name], np.random.default_rng(0)
    for spatial in [*SPATIAL, *ODD_SPATIAL]:
        case = problem(channels, spatial=spatial)
        if formulation.fits(geometry_of(case)):
            check(formulation, case, rng)


@pytest.mark.parametrize("case", IN_SLABS, ids=str)
def test_volumes_in_slabs_equal_the_oracles(case):
    check(WINOGRAD, case, np.random.default_rng(0))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "channels"), [("columns", "grouped"), ("mx.conv3d, plain", "dense")]
)
def test_those_that_pad_themselves_pad_in_every_mode(name, channels, mode):
    for spatial in (SPATIAL[0], SPATIAL[4], SPATIAL[5]):
        case = problem(channels, mode, spatial)
        check(FORMULATIONS[name], case, np.random.default_rng(0))


def check_random_problems(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        case = random_problem(rng)
        case = dataclasses.replace(case, padding_mode="zeros")
        if len(case.input_shape) == 5:
            for formulation in FORMULATIONS.values():
                if formulation.fits(geometry_of(case)):
                    check(formulation, case, rng)


def test_random_problems_equal_the_oracles():
    check_random_problems(seed=0, count=25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_more_random_problems_equal_the_oracles(seed):
    check_random_problems(seed, count=100)


def test_columns_of_large_volumes_are_made_of_parts_of_the_kernel():
    case = Problem((1, 1, 70, 70, 70), (1, 1, 3, 3, 3), padding=1)
    check(COLUMNS, case, np.random.default_rng(0))


@pytest.mark.slow
@pytest.mark.parametrize(("side", "kernel"), [(100, (3, 3, 3)), (145, (2, 2, 3))])
def test_columns_of_the_largest_volumes_are_made_of_few_taps(side, kernel):
    case = Problem((1, 1, side, side, side), (1, 1, *kernel), padding=1)
    check(COLUMNS, case, np.random.default_rng(0))


@pytest.mark.parametrize("spatial", SPATIAL[:4], ids=str)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_types_lose_no_more_than_twice_what_mlx_loses(dtype, spatial):
    case = problem("dense", spatial=spatial)
    rng = np.random.default_rng(0)
    halves = to_mlx(case.draw(rng), dtype)
    (dy,) = to_mlx([uniform(rng, geometry_of(case).output_shape)], dtype)
    singles = [array.astype(mx.float32) for array in halves]

    def by_mlx(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
        return MLX_PLAIN.forward(x.transpose(0, 2, 3, 4, 1), w, b, geometry_of(case))

    def results(function, arrays, cotangent):
        outputs, gradients = mx.vjp(function, arrays, [cotangent])
        return [*outputs, *gradients]

    def last(array: mx.array) -> mx.array:
        return array.transpose(0, 2, 3, 4, 1)

    ours = results(case.function, halves, dy)
    theirs = results(by_mlx, halves, last(dy))
    exact = results(by_mlx, singles, last(dy).astype(mx.float32))
    assert F.conv3d(*halves, **case.options).dtype == dtype
    ours[0] = last(ours[0])
    for a, b, want in zip(ours, theirs, exact, strict=True):
        assert a.dtype == dtype
        assert distance(a, want) <= NATIVE_LOSS * distance(b, want)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("flat grid", problem("dense", spatial=SPATIAL[0])),
        ("flat grid", problem("depthwise", spatial=SPATIAL[3])),
        ("flat grid", problem("grouped", spatial=SPATIAL[2])),
        ("Winograd", problem("dense", spatial=SPATIAL[0])),
        ("Winograd", IN_SLABS[0]),
        ("patches", problem("grouped", spatial=ODD_SPATIAL[-2])),
        ("patches, channels-last", problem("dense", spatial=ODD_SPATIAL[-2])),
    ],
    ids=str,
)
class TestTransformations:
    """Each transformation of MLX's agrees with the same of columns, which MLX has."""

    @pytest.fixture
    def arrays(self, case) -> list[mx.array]:
        return to_mlx(case.draw(np.random.default_rng(0)))

    @pytest.fixture
    def both(self, name, case) -> list[Callable[..., mx.array]]:
        return [function_of(f, case) for f in (FORMULATIONS[name], COLUMNS)]

    @pytest.mark.parametrize("given", [[0, 1, 2], [0], [1], [2]], ids=str)
    def test_jvp(self, case, both, arrays, given):
        tangents = to_mlx(case.draw(np.random.default_rng(1)))

        def tangent(function: Callable[..., mx.array]) -> mx.array:
            def call(*chosen: mx.array) -> mx.array:
                full = list(arrays)
                for i, array in zip(given, chosen, strict=True):
                    full[i] = array
                return function(*full)

            chosen = [arrays[i] for i in given]
            return mx.jvp(call, chosen, [tangents[i] for i in given])[1][0]

        got, want = map(tangent, both)
        assert_close(got, np.array(want), "tangent")

    def test_vmap_of_values_and_gradients(self, both, arrays):
        def per_sample(function: Callable[..., mx.array]) -> list[mx.array]:
            def loss(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
                return function(x, w, b).square().mean()

            x, w, b = arrays
            xs = mx.stack([x, 2 * x, 0.5 * x])
            ws = mx.stack([w, 3 * w, 0.2 * w])
            over_inputs = mx.vmap(mx.value_and_grad(loss, (0, 1, 2)), (0, None, None))
            over_weights = mx.vmap(mx.grad(loss, (0, 1, 2)), (None, 0, None))
            value, gradients = over_inputs(xs, w, b)
            return [value, *gradients, *over_weights(x, ws, b)]

        for got, want in zip(*map(per_sample, both), strict=True):
            assert_close(got, np.array(want), "per sample")

    def test_second_gradients(self, both, arrays):
        def slopes(function: Callable[..., mx.array]):
            def slope(*xs: mx.array) -> mx.array:
                def loss(*xs: mx.array) -> mx.array:
                    return function(*xs).square().mean()

                return sum(g.square().mean() for g in mx.grad(loss, (0, 1, 2))(*xs))

            return mx.grad(slope, (0, 1, 2))(*arrays)

        for got, want in zip(*map(slopes, both), strict=True):
            assert_close(got, np.array(want), "second gradient")

    @pytest.mark.parametrize("transform", [mx.compile, mx.checkpoint])
    def test_compile_and_checkpoint(self, both, arrays, transform):
        def gradients(function: Callable[..., mx.array]):
            def loss(*xs: mx.array) -> mx.array:
                return function(*xs).square().mean()

            return mx.grad(loss, (0, 1, 2))(*arrays)

        ours, _ = both
        for a, b in zip(gradients(transform(ours)), gradients(ours), strict=True):
            assert_close(a, np.array(b), "gradient")


@pytest.mark.parametrize(
    ("name", "channels", "size", "most"),
    [
        ("flat grid", (16, 16, 1), 24, 20),
        ("flat grid", (16, 16, 16), 24, 12),
        ("flat grid", (16, 16, 4), 24, 20),
        ("Winograd", (16, 16, 1), 32, 14),
    ],
)
def test_forward_and_backward_hold_no_multiple_of_the_kernel(
    name, channels, size, most
):
    """Where mx.conv3d holds 27 inputs and more for the weight gradient alone."""
    c, o, groups = channels
    case = Problem(
        (1, c, size, size, size), (o, c // groups, 3, 3, 3), padding=1, groups=groups
    )
    assert peak(FORMULATIONS[name], case) < most
    plain = MLX_PLAIN if groups == 1 else COLUMNS
    assert peak(plain, case) > 1.5 * most


def peak(formulation: Formulation, case: Problem) -> float:
    """The most that forward and backward hold, in inputs."""
    x, w = mx.ones(case.input_shape), mx.ones(case.weight_shape)
    function = function_of(formulation, case)
    mx.eval(x, w)
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(mx.value_and_grad(lambda *xs: function(*xs).square().sum(), (0, 1))(x, w))
    return (mx.get_peak_memory() - before) / (4 * math.prod(case.input_shape))
