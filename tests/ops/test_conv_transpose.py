"""Transposed convolution: the input gradient of every formulation, differentiable."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import itertools
from typing import Any

import lucid
from lucid import choice
from lucid.geometry import ConvGeometry, conv_geometry
from lucid.metal.conv import TWIN
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

from tests.metal_emulator import emulated_metal
from tests.oracle import direct, to_mlx, uniform
from tests.oracle.direct import triple
from tests.oracle.tolerances import assert_close, distance

FORMULATIONS = {
    "columns": COLUMNS,
    "mx.conv3d, plain": MLX_PLAIN,
    "patches": PATCHES,
    "patches, channels-last": PATCHES_CHANNELS_LAST,
    "flat grid": GRID,
    "Winograd": WINOGRAD,
    "mx.conv3d": MLX,
    "mx.conv3d by group": MLX_BY_GROUP,
    "twins": TWIN,
}
# kernel, stride, padding, output_padding, dilation, size of the input
SPATIAL: list[tuple[Any, ...]] = [
    (2, 2, 0, 0, 1, (2, 3, 4)),
    (2, 2, 0, 1, 1, (2, 1, 3)),
    ((1, 2, 2), (1, 2, 2), 0, (0, 1, 0), 1, (3, 2, 2)),
    (3, 2, 1, 1, 1, (2, 3, 2)),
    (4, 2, 1, 0, 1, (2, 3, 2)),
    (3, 1, 1, 0, 1, (5, 4, 3)),
    ((3, 1, 2), 1, (0, 0, 1), 0, 1, (4, 3, 5)),
    (3, (2, 1, 3), (1, 2, 0), (1, 0, 2), (2, 1, 1), (2, 3, 2)),
    ((2, 3, 1), 3, (0, 1, 0), (2, 0, 1), (1, 2, 1), (2, 2, 3)),
    (1, 2, 0, (1, 0, 1), 1, (2, 2, 3)),
]
# input and output channels, groups
CHANNELS = [(3, 4, 1), (4, 6, 2), (3, 3, 3)]


def problem(spatial: tuple[Any, ...], channels: tuple[int, int, int], batch: int = 2):
    """The geometry, the oracle's options, and x, weight and bias."""
    kernel, stride, padding, output_padding, dilation, size = spatial
    c, o, groups = channels
    kernel, stride, dilation = triple(kernel), triple(stride), triple(dilation)
    output = [
        (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for n, s, p, d, k, extra in zip(
            size,
            stride,
            triple(padding),
            dilation,
            kernel,
            triple(output_padding),
            strict=True,
        )
    ]
    shapes = [(batch, c, *size), (c, o // groups, *kernel), (o,)]
    geometry = conv_geometry(
        (batch, o, *output),
        shapes[1],
        stride,
        triple(padding),
        dilation,
        groups,
        "zeros",
    )
    options = {
        "stride": stride,
        "padding": padding,
        "output_padding": output_padding,
        "groups": groups,
        "dilation": dilation,
    }
    rng = np.random.default_rng(0)
    return geometry, options, [uniform(rng, shape) for shape in shapes]


def numeric_gradients(
    options: dict[str, Any], arrays: list[np.ndarray], dy: np.ndarray
) -> list[np.ndarray]:
    """Of <dy, y> in x, weight and bias: it is linear in each, so from unit steps."""

    def value(*arrays: np.ndarray) -> float:
        return float(np.vdot(direct.conv_transpose3d(*arrays, **options), dy))

    gradients = []
    for i, array in enumerate(arrays):
        without = [*arrays[:i], np.zeros_like(array), *arrays[i + 1 :]]
        base, gradient = value(*without), np.zeros(array.shape)
        for at in np.ndindex(*array.shape):
            without[i][at] = 1
            gradient[at] = value(*without) - base
            without[i][at] = 0
        gradients.append(gradient)
    return gradients


def transposed(
    formulation: Formulation, geometry: ConvGeometry
) -> Callable[..., mx.array]:
    return lambda x, w, b=None: conv.conv_transpose3d(formulation, x, w, b, geometry)


@pytest.mark.parametrize("channels", CHANNELS, ids=str)
@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
def test_every_formulation_that_fits_equals_the_oracle(spatial, channels):
    geometry, options, arrays = problem(spatial, channels)
    want = direct.conv_transpose3d(*arrays, **options)
    fitting = {n: f for n, f in FORMULATIONS.items() if f.fits(geometry)}
    assert len(fitting) >= 3
    for name, formulation in fitting.items():
        got = transposed(formulation, geometry)(*to_mlx(arrays))
        assert_close(got, want, name)


@pytest.mark.parametrize(
    ("spatial", "channels"),
    [(SPATIAL[i], CHANNELS[i % 3]) for i in range(len(SPATIAL))],
    ids=str,
)
def test_gradients_equal_the_oracles_differences(spatial, channels):
    geometry, options, arrays = problem(spatial, channels, batch=1)
    dy = uniform(np.random.default_rng(1), (1, *geometry.input_shape[1:]))
    exact = numeric_gradients(options, arrays, dy)
    for name, formulation in FORMULATIONS.items():
        if formulation.fits(geometry):
            _, gradients = mx.vjp(
                transposed(formulation, geometry), to_mlx(arrays), to_mlx([dy])
            )
            for got, want in zip(gradients, exact, strict=True):
                assert_close(got, want, f"a gradient of {name}")


@pytest.mark.parametrize("spatial", [SPATIAL[0], SPATIAL[3], SPATIAL[5]], ids=str)
@pytest.mark.parametrize("name", FORMULATIONS)
def test_second_gradients_and_tangents_are_autodiffs(name, spatial):
    geometry, _, arrays = problem(spatial, CHANNELS[0])
    if not FORMULATIONS[name].fits(geometry):
        return
    inputs = to_mlx(arrays)

    def slopes(function: Callable[..., mx.array]) -> Any:
        def slope(*xs: mx.array) -> mx.array:
            def loss(*xs: mx.array) -> mx.array:
                return function(*xs).square().mean()

            return sum(g.square().mean() for g in mx.grad(loss, (0, 1, 2))(*xs))

        return mx.grad(slope, (0, 1, 2))(*inputs)

    ours, plain = (transposed(f, geometry) for f in (FORMULATIONS[name], COLUMNS))
    for got, want in zip(slopes(ours), slopes(plain), strict=True):
        assert_close(got, np.array(want), f"a second gradient of {name}")
    if "mx.conv3d" not in name:  # which has no jvp
        got, want = (mx.jvp(f, inputs, inputs)[1][0] for f in (ours, plain))
        assert_close(got, np.array(want), f"a tangent of {name}")


DTYPES = (mx.float32, mx.float16, mx.bfloat16)


def check_choice(spatial: tuple, channels: tuple, dtype: mx.Dtype) -> None:
    geometry, options, arrays = problem(spatial, channels)
    inputs = to_mlx(arrays, dtype)
    arrays = [np.array(array.astype(mx.float32)) for array in inputs]
    want = direct.conv_transpose3d(*arrays, **options)
    got = choice.conv_transpose3d(*inputs, geometry)
    assert got.dtype == dtype
    # Adding the bias may round a half type once more.
    bounds = {mx.float32: 2e-5, mx.float16: 2**-10, mx.bfloat16: 2**-7}
    assert distance(got, want) <= bounds[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("plain", [False, True])
def test_what_is_chosen_on_a_cpu_equals_the_oracle(plain, dtype):
    plain_or_not = lucid.plain_operations if plain else contextlib.nullcontext
    with plain_or_not():
        for spatial, channels in itertools.product(SPATIAL, CHANNELS):
            check_choice(spatial, channels, dtype)


@pytest.mark.parametrize(
    ("spatial", "channels", "dtype"),
    [
        (SPATIAL[0], CHANNELS[0], mx.float16),
        (SPATIAL[3], CHANNELS[2], mx.float32),
        (SPATIAL[3], (16, 16, 1), mx.bfloat16),
    ],
)
def test_what_is_chosen_on_a_gpu_equals_the_oracle(spatial, channels, dtype):
    with emulated_metal():
        check_choice(spatial, channels, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("spatial", SPATIAL, ids=str)
def test_every_choice_on_a_gpu_equals_the_oracle(spatial, dtype):
    for channels in CHANNELS:
        with emulated_metal():
            check_choice(spatial, channels, dtype)


def test_an_empty_batch_has_gradients_of_zeros():
    geometry, _, (_, w, b) = problem(SPATIAL[3], CHANNELS[0], batch=0)
    arrays = [mx.zeros((0, 3, 2, 3, 2)), *to_mlx([w, b])]

    def loss(*arrays: mx.array) -> mx.array:
        return choice.conv_transpose3d(*arrays, geometry).sum()

    gradients = mx.grad(loss, (0, 1, 2))(*arrays)
    assert [g.shape for g in gradients] == [a.shape for a in arrays]
    assert not any(mx.any(g).item() for g in gradients)


def test_plain_operations_can_be_exported(tmp_path):
    geometry, _, arrays = problem(SPATIAL[3], CHANNELS[0])
    x, w, b = to_mlx(arrays)
    mx.eval(x, w, b)
    file = str(tmp_path / "transposed.mlxfn")
    with lucid.plain_operations():
        mx.export_function(
            file, lambda x: choice.conv_transpose3d(x, w, b, geometry), x
        )
    (got,) = mx.import_function(file)(x)
    assert_close(got, np.array(choice.conv_transpose3d(x, w, b, geometry)), "y")
