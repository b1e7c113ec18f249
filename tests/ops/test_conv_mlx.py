"""MLX's conv3d with Lucid's own gradients agrees with the oracle, and copies little."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from lucid.geometry import ConvGeometry, Padding, padding_per_side
from lucid.ops.conv import Formulation
from lucid.ops.conv_mlx import MLX, MLX_BY_GROUP
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle import SPATIAL, direct, to_mlx, uniform
from tests.oracle.direct import triple
from tests.oracle.tolerances import assert_close

# kernel, stride, dilation, padding (before, after), size
TABLE = {
    "uneven sides with a stride": ((2, 3, 2), 2, 1, ((0, 1), (2, 1), (1, 3)), 5),
    "sides of zero and k": (3, 1, 1, ((0, 2), (2, 0), (0, 1)), 4),
    "strides 1 to 3": (3, (1, 2, 3), 1, 1, (4, 5, 7)),
    "strides 4, 1, 2": ((4, 2, 3), (4, 1, 2), 1, (1, 0, 2), (9, 3, 6)),
    "strides 2, 4, 3": ((2, 5, 3), (2, 4, 3), 1, (0, 2, 1), (5, 11, 8)),
    "stride 2, dilation 2": (3, 2, 2, 2, (5, 6, 7)),
    "stride 2, dilation 4": ((3, 2, 1), 2, 4, (4, 2, 0), (6, 7, 5)),
    "stride 4, dilation 2": ((3, 4, 2), 4, 2, (3, 3, 1), (9, 10, 7)),
    "stride 6, dilation 4": ((4, 3, 2), 6, 4, (6, 5, 2), (13, 11, 9)),
    "stride 4, dilation 6": ((3, 2, 2), 4, 6, (6, 3, 3), (10, 9, 8)),
    "stride 3, dilation 2": (3, 3, 2, 2, (7, 8, 6)),
    "stride 2, dilation 3": (3, 2, 3, 3, (8, 7, 6)),
    "stride beyond the kernel": (2, (3, 4, 5), 1, (0, 1, 0), (8, 9, 7)),
    "kernel 1, stride 3": (1, 3, 1, 0, (4, 5, 7)),
    "kernel 1, stride 3, padded": (1, 3, 1, (1, 2, 4), (4, 5, 3)),
    "padding beyond the span": ((2, 1, 3), 1, (1, 1, 2), (4, 3, 7), (2, 3, 1)),
    "padding beyond the span, strided": (2, (3, 2, 4), 1, (5, 4, 9), (3, 2, 1)),
    "padding a multiple of the stride": (3, (2, 3, 4), 1, (2, 3, 4), (5, 6, 4)),
    "voxels that no output reads": ((2, 3, 1), (4, 5, 3), 1, 0, (9, 11, 6)),
    "sides that no output reads": (2, 4, 1, ((0, 3), (1, 6), (4, 3)), (6, 5, 7)),
    "one output": (4, 7, 2, 0, (7, 8, 9)),
    "one voxel": (3, 2, 1, 1, 1),
}


def geometry_of(
    kernel, stride, dilation, padding, size, channels=(3, 4, 1), batch=2
) -> ConvGeometry:
    """Padding: an int, three, a string, or pairs."""
    c, o, groups = channels
    kernel, dilation = triple(kernel), triple(dilation)
    if isinstance(padding, int):
        padding = triple(padding)
    if isinstance(padding, str) or isinstance(padding[0], int):
        padding = padding_per_side(padding, kernel, dilation)
    fields = (triple(size), kernel, triple(stride), padding, dilation)
    return ConvGeometry(batch, c, o, *fields, groups, "zeros")


def oracle(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, dy: np.ndarray, geometry: ConvGeometry
) -> list[np.ndarray]:
    """y, dx, dw: channels-first, of an input that NumPy pads, as it may be uneven."""
    options = (geometry.stride, 0, geometry.dilation, geometry.groups)
    padded = direct.pad(x, geometry.padding, "zeros")
    dx, dw, _ = direct.conv3d_gradients(padded, w, dy, *options)
    dx = direct.pad_gradient(dx, geometry.padding, "zeros")
    return [direct.conv3d(padded, w, b, *options), dx, dw]


def last(array: mx.array) -> mx.array:
    return array.transpose(0, 2, 3, 4, 1)


def first(array: mx.array) -> mx.array:
    return array.transpose(0, 4, 1, 2, 3)


def check(
    formulation: Formulation,
    geometry: ConvGeometry,
    dtype: mx.Dtype = mx.float32,
    bias: bool = True,
) -> None:
    """The output and both gradients are the oracle's, and of the dtype."""
    rng = np.random.default_rng(0)
    g, o = geometry, geometry.out_channels
    shapes = (
        (g.batch, g.in_channels, *g.input_size),
        (o, g.in_channels // g.groups, *g.kernel_size),
        (o,),
        g.output_shape,
    )
    x, w, b, dy = to_mlx([uniform(rng, shape) for shape in shapes], dtype)
    b = b if bias else mx.zeros_like(b)
    # The oracle gets what the dtype can hold, so that only the operation is judged.
    arrays = [np.array(array.astype(mx.float32)) for array in (x, w, b, dy)]
    got = [
        first(formulation.forward(last(x), w, b if bias else None, g)),
        first(formulation.input_gradient(last(dy), w, g)),
        formulation.weight_gradient(last(x), last(dy), g),
    ]
    names = ("y", "dx", "dw")
    for name, a, want in zip(names, got, oracle(*arrays, geometry), strict=True):
        assert a.dtype == dtype
        assert_close(a, want, name, dtype)


class Call(NamedTuple):
    x: mx.array
    weight: mx.array
    options: dict[str, Any]
    y: mx.array


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Every call of mx.conv3d, which goes on working."""
    seen: list[Call] = []
    conv3d = mx.conv3d

    def spy(x: mx.array, weight: mx.array, **options: Any) -> mx.array:
        y = conv3d(x, weight, **options)
        seen.append(Call(x, weight, options, y))
        return y

    monkeypatch.setattr(mx, "conv3d", spy)
    return seen


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", TABLE)
def test_output_and_gradients_are_exact_on_odd_grids(name, batch):
    check(MLX, geometry_of(*TABLE[name], batch=batch))


@pytest.mark.parametrize("channels", [(4, 6, 2), (6, 3, 3)])
@pytest.mark.parametrize("name", [*list(TABLE)[::4], "voxels that no output reads"])
def test_each_group_is_convolved_by_itself(name, channels):
    check(MLX_BY_GROUP, geometry_of(*TABLE[name], channels=channels))


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("dilation", [1, 2, 3, 4])
def test_every_stride_meets_every_dilation(stride, dilation):
    """An axis each: kernels of 2, 3 and 4 taps, sizes one apart."""
    span = dilation * 3 + 1
    size = (span, span + 1, span + stride)
    check(MLX, geometry_of((2, 3, 4), stride, dilation, (0, 1, 2), size))


def random_geometry(rng: np.random.Generator) -> ConvGeometry:
    """Any sizes, uneven padding included, of at least one output."""

    def three(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.integers(low, high, 3, endpoint=True).tolist())

    kernel, stride, dilation = three(1, 4), three(1, 4), three(1, 4)
    even: Padding = tuple((p, p) for p in three(0, 3))  # pyright: ignore
    uneven = tuple(zip(three(0, 5), three(0, 5), strict=True))
    padding = uneven if rng.random() < 0.5 else even
    size = tuple(
        max(d * (k - 1) + 1 - sum(p), 1) + extra
        for k, d, p, extra in zip(kernel, dilation, padding, three(0, 5), strict=True)
    )
    g, c, o = rng.integers(1, 2, 3, endpoint=True).tolist()
    batch = int(rng.integers(1, 2, endpoint=True))
    return geometry_of(
        kernel, stride, dilation, padding, size, (g * c, g * o, g), batch
    )


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 10))]
)
def test_thirty_random_problems_are_exact(seed):
    rng = np.random.default_rng(seed)
    for _ in range(30):
        geometry = random_geometry(rng)
        check(MLX if geometry.groups == 1 else MLX_BY_GROUP, geometry)


@pytest.mark.parametrize("name", list(TABLE)[::3])
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_types_stay_half_and_are_rounded_once(dtype, name):
    grouped = geometry_of(*TABLE[name], channels=(4, 6, 2))
    check(MLX, geometry_of(*TABLE[name]), dtype, bias=False)
    check(MLX_BY_GROUP, grouped, dtype, bias=False)


def test_without_bias_nothing_is_added():
    geometry = geometry_of(*SPATIAL[0])
    x, w = mx.ones((2, *geometry.input_size, 3)), mx.ones((4, 3, 3, 3, 3))
    biased = MLX.forward(x, w, mx.ones(4), geometry)
    assert mx.array_equal(MLX.forward(x, w, None, geometry) + 1, biased)


def test_a_voxel_that_no_output_reads_has_a_gradient_of_exactly_zero():
    geometry = geometry_of(2, 4, 1, 0, 7)
    ones = mx.ones((2, *geometry.output_size, 4))
    dx = MLX.input_gradient(ones, mx.ones((4, 3, 2, 2, 2)), geometry)
    read = [0, 1, 4, 5]
    assert not np.delete(np.array(dx), read, axis=1).any()
    assert np.array(dx)[:, read][:, :, read][:, :, :, read].all()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", TABLE)
def test_mlx_never_gets_uneven_padding(calls, name, batch):
    """One number an axis: MLX would take the first of a pair for one volume."""
    check(MLX, geometry_of(*TABLE[name], batch=batch))
    assert calls
    for call in calls:
        assert len(call.options["padding"]) == 3
        assert all(type(p) is int and p >= 0 for p in call.options["padding"])


@pytest.mark.parametrize("k", [1, 2])
def test_a_volume_padded_behind_alone_reaches_mlx_padded(calls, k):
    geometry = geometry_of(3, 1, 1, ((0, k), (1, 1), (1, 1)), 4, batch=1)
    check(MLX, geometry)
    forward, backward = calls
    assert (forward.x.shape[1], forward.options["padding"]) == (4 + k, (0, 1, 1))
    # Sides of 2 and 2 - k make 4 voxels of the 2 + k of dy: even for k = 0 alone.
    assert (backward.x.shape[1], backward.options["padding"]) == (6, (0, 1, 1))


@pytest.mark.parametrize("stride", [2, 3, (1, 2, 3)])
def test_the_input_gradient_convolves_at_stride_one(calls, stride):
    """As many convolutions as phases that a tap reads, none with holes in dy."""
    geometry = geometry_of(3, stride, 1, 1, 7)
    dy = mx.ones((2, *geometry.output_size, 4))
    MLX.input_gradient(dy, mx.ones((4, 3, 3, 3, 3)), geometry)
    assert len(calls) == np.prod(triple(stride))
    for call in calls:
        assert call.options["stride"] == (1, 1, 1)
        assert "input_dilation" not in call.options


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_a_strided_input_gradient_multiplies_as_much_as_the_forward(calls, stride):
    """Holes in dy would multiply by the stride cubed."""
    geometry = geometry_of(4, stride, 1, 0, 24 + 4 - stride, channels=(2, 2, 1))
    dy = mx.ones((2, *geometry.output_size, 2))
    MLX.input_gradient(dy, mx.ones((2, 2, 4, 4, 4)), geometry)
    products = sum(math.prod((*c.y.shape[:4], *c.weight.shape[1:4])) for c in calls)
    forward = 2 * math.prod(geometry.output_size) * 4**3
    assert forward <= products < 1.5 * forward


@pytest.mark.parametrize(
    ("kernel", "padding", "size"),
    [(3, 1, 8), (1, 0, 2), ((1, 1, 3), 0, (1, 1, 3)), (5, 2, 4), ((5, 1, 5), 4, 2)],
)
def test_weight_gradients_of_wide_and_narrow_borders_are_exact(kernel, padding, size):
    """Of volumes that are mostly outputs, and mostly border."""
    check(MLX, geometry_of(kernel, 1, 1, padding, size))
