"""The CPU's formulations agree with the oracle, in every transformation."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math

from lucid import dispatch
from lucid.geometry import ConvGeometry
from lucid.ops import columns, grid
import mlx.core as mx
import numpy as np
import pytest

from tests.ops.test_composed import geometry_of
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

# kernel, stride, dilation, padding, size: three taps deep, tiles full, cut and wasted
WINOGRAD_SPATIAL = [
    ((3, 3, 3), 1, 1, 1, (4, 5, 3)),
    ((3, 3, 3), 1, 1, "valid", (6, 4, 5)),
    ((3, 2, 4), 1, 1, "same", (7, 3, 5)),
    ((3, 1, 2), 1, 1, (2, 0, 1), (5, 3, 4)),
    ((3, 5, 1), 1, 1, (0, 4, 0), (9, 2, 3)),
    ((3, 3, 3), 1, 1, (1, 2, 0), (1, 4, 4)),
]
# padding of a span and more, gaps between the kernel's places, phases without a tap
ODD_SPATIAL = [
    ((2, 3, 1), 1, 1, (4, 1, 3), (3, 2, 4)),
    ((3, 3, 3), (5, 4, 2), 1, (2, 0, 1), (11, 7, 6)),
    ((2, 3, 2), (2, 3, 2), (3, 2, 4), (3, 4, 1), (7, 6, 9)),
    ((1, 1, 4), (3, 2, 1), (1, 1, 2), (0, 0, 5), (4, 3, 6)),
]
EVERYWHERE = [*SPATIAL, *ODD_SPATIAL]
OURS = ("native", "columns", "grid", "widening", "native widening", "winograd")


def computes(name: str, case: Problem) -> bool:
    """Whether the formulation is made for such a problem."""
    geometry = geometry_of(case)
    if geometry.padding_mode != "zeros":
        geometry = geometry.without_padding
    one = (1, 1, 1)
    unit = geometry.groups == 1 and geometry.stride == geometry.dilation == one
    if name == "winograd":
        return (
            unit
            and dispatch._pads_within_kernel(geometry)
            and geometry.kernel_size[0] == 3
        )
    if "native" in name:
        return unit and dispatch._pads_within_kernel(geometry)
    return name == "grid" or dispatch._pads_within_kernel(geometry)


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


def possible(channels: str, mode: str, spatial: tuple) -> Problem:
    case = problem(channels, mode, spatial)
    return case if fits(case) else dataclasses.replace(case, padding_mode="replicate")


CASES = [
    (name, channels, mode, spatial)
    for name in OURS
    for channels in CHANNELS
    for mode in MODES
    for spatial in (WINOGRAD_SPATIAL if name == "winograd" else EVERYWHERE)
    if computes(name, possible(channels, mode, spatial))
]


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
    check(name, possible(channels, mode, spatial), np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(5))
def test_random_problems_equal_the_oracles(seed):
    rng = np.random.default_rng(seed)
    checked = set()
    for _ in range(60):
        case = random_problem(rng)
        if len(case.input_shape) == 5:
            chosen = [name for name in OURS if computes(name, case)]
            checked |= set(chosen)
            for name in chosen:
                check(name, case, rng)
    assert checked >= {"columns", "grid", "widening"}


@pytest.mark.parametrize("planes", [0, 1, 2, 3])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(
    "spatial",
    [s for s in EVERYWHERE if computes("columns", problem("dense", spatial=s))],
    ids=str,
)
def test_columns_of_some_planes_at_a_time_are_exact(
    monkeypatch, spatial, channels, planes
):
    case = problem(channels, spatial=spatial)
    g = geometry_of(case)
    plane = 4 * g.in_channels * math.prod((*g.kernel_size, *g.output_size[1:]))
    monkeypatch.setattr(columns, "COLUMNS_BYTES", planes * plane)
    made, sizes = columns._columns, []

    def spy(x, geometry):
        sizes.append(made(x, geometry).nbytes)
        return made(x, geometry)

    monkeypatch.setattr(columns, "_columns", spy)
    columns._slabs.cache_clear()
    check("columns", case, np.random.default_rng(0))
    columns._slabs.cache_clear()
    assert max(sizes) <= max(planes, 1) * plane
    assert sum(sizes) == 2 * g.batch * g.output_size[0] * plane


def test_small_volumes_share_columns_within_the_cap(monkeypatch):
    g = dataclasses.replace(geometry(2, 3, 1, 3), batch=5, input_size=(2, 3, 3))
    g = dataclasses.replace(g, padding=((2, 2),) * 3)
    plane = 4 * 2 * 27 * 25
    monkeypatch.setattr(columns, "COLUMNS_BYTES", 12 * plane - 1)  # two of 4 planes
    columns._slabs.cache_clear()
    got = [slab.geometry.batch for slabs in columns._slabs(g) for slab in slabs]
    columns._slabs.cache_clear()
    assert got == [1, 2, 2]


def test_one_tap_along_the_width_is_not_stacked():
    g = dataclasses.replace(geometry(16, 16, 1, 24), kernel_size=(3, 3, 1))
    assert grid._accumulated_axes(grid.grid_of(g).taps, g) == 3


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        *[("grid", "dense"), ("grid", "depthwise"), ("grid", "grouped")],
        *[("columns", "dense"), ("columns", "grouped"), ("widening", "grouped")],
        *[("native", "dense"), ("native widening", "dense"), ("winograd", "dense")],
    ],
)
class TestTransformations:
    """Each transformation of MLX's agrees with the same of plain operations."""

    @pytest.fixture
    def case(self, channels) -> Problem:
        return problem(channels, "reflect", WINOGRAD_SPATIAL[0])

    @pytest.fixture
    def arrays(self, case) -> list[mx.array]:
        return to_mlx(case.draw(np.random.default_rng(0)))

    def test_jvp(self, name, case, arrays):
        if "native" in name:
            with pytest.raises(ValueError, match="jvp"):
                mx.jvp(function_of(name, case), arrays, arrays)
            return
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

            want = of_given(function_of("plain", case))
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
            # With each weight's own input gradient, mx.conv3d would need groups.
            which = (1, 2) if "native" in name else (0, 1, 2)
            over_weights = mx.vmap(mx.grad(loss, which), (None, 0, None))
            value, gradients = over_inputs(xs, w, b)
            return [value, *gradients, *over_weights(x, ws, b)]

        want = per_sample(function_of("plain", case))
        for a, b in zip(per_sample(function_of(name, case)), want, strict=True):
            assert_close(a, np.array(b), "per sample")

    def test_second_gradients(self, name, case, arrays):
        def slopes(function):
            def loss(*xs):
                return function(*xs).square().mean()

            def slope(*xs):
                return sum(g.square().mean() for g in mx.grad(loss, (0, 1, 2))(*xs))

            return mx.grad(slope, (0, 1, 2))(*arrays)

        want = slopes(function_of("plain", case))
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
    [
        *[("grid", (16, 16, 16, 24), 12), ("grid", (16, 16, 1, 24), 20)],
        *[("grid", (16, 16, 4, 24), 20), ("winograd", (16, 16, 1, 32), 24)],
    ],
)
def test_forward_and_backward_hold_no_multiple_of_the_kernel(name, sizes, most):
    """Where mx.conv3d holds 27 inputs and more for the weight gradient alone."""
    assert peak(name, geometry(*sizes)) < most
    plain = "plain native" if sizes[2] == 1 else "plain"
    assert peak(plain, geometry(*sizes)) > 1.5 * most


@pytest.mark.parametrize("name", ["columns", "widening"])
def test_columns_are_not_held_for_the_backward(name):
    g = geometry(4, 16, 1, 24)
    assert peak(name, g) < 0.7 * peak("plain", g)


def peak(name: str, g: ConvGeometry) -> float:
    """The most that forward and backward hold, in inputs."""
    x = mx.ones((1, g.in_channels, *g.input_size))
    w = mx.ones((g.out_channels, g.in_channels // g.groups, 3, 3, 3))

    def loss(x: mx.array, w: mx.array) -> mx.array:
        return dispatch._CPU[name](x, w, None, g).square().sum()

    mx.eval(x, w)
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(mx.value_and_grad(loss, (0, 1))(x, w))
    return (mx.get_peak_memory() - before) / x.nbytes
