"""The kernels are files of the package, launched on grids that fit."""

from __future__ import annotations

from importlib import resources
import itertools
import math
from typing import Any

from lucid.geometry import PADDING_MODES, ConvGeometry
from lucid.metal import launch, norm, pooling, upsampling
from lucid.metal import padding as padding_kernels
from lucid.metal.conv import METAL
from lucid.metal.conv_plan import weight_gradient_plan, weight_gradient_splits
from lucid.metal.peak import multiply_add_kernel
from lucid.ops.axis_maps import Repeat
from lucid.ops.pooling import Adaptive
import mlx.core as mx
import pytest

from tests.oracle.direct import triple

FILES = {
    file.name: file.read_bytes()
    for file in (resources.files("lucid.metal") / "kernels").iterdir()
}
ONE = ((1, 1), (1, 1), (1, 1))
# (channels, outputs, groups)
CHANNELS = [
    (1, 1, 1),
    (4, 4, 4),
    (3, 3, 3),
    (8, 4, 2),
    (6, 10, 2),
    (1, 32, 1),
    (4, 4, 2),
]


def geometry_of(
    channels, size=(4, 5, 7), kernel=3, stride=1, dilation=1, padding=ONE, mode="zeros"
) -> ConvGeometry:
    c, o, groups = channels
    sizes = (size, triple(kernel), triple(stride), padding, triple(dilation))
    return ConvGeometry(2, c, o, *sizes, groups, mode)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What MLX is asked to make and to run of every kernel; its output is zeros."""
    monkeypatch.setenv("LUCID_METAL", "trust")  # zeros would not pass the guard
    seen: list[dict[str, Any]] = []

    def metal_kernel(**made: Any) -> Any:
        def run(**asked: Any) -> list[mx.array]:
            seen.append({**made, **asked})
            outputs = zip(asked["output_shapes"], asked["output_dtypes"], strict=True)
            return [mx.zeros(shape, dtype) for shape, dtype in outputs]

        return run

    monkeypatch.setattr(mx.fast, "metal_kernel", metal_kernel)
    monkeypatch.setattr(launch, "compiled", launch.compiled.__wrapped__)
    return seen


def run_all(geometry: ConvGeometry, dtype: mx.Dtype = mx.float32) -> None:
    """Launch every kernel that a convolution and its padding need."""
    g, (n, o, *size) = geometry, geometry.output_shape
    x = mx.zeros((n, *g.input_size, g.in_channels), dtype)
    w = mx.zeros((o, g.in_channels // g.groups, *g.kernel_size), dtype)
    dy = mx.zeros((n, *size, o), dtype)
    assert METAL.forward(x, w, None, g).shape == dy.shape
    assert METAL.forward(x, w, mx.zeros(o, dtype), g).shape == dy.shape
    assert METAL.input_gradient(dy, w, g).shape == x.shape
    assert METAL.weight_gradient(x, dy, g).shape == w.shape
    padded = padding_kernels.pad_kernel(x, g.padding, g.padding_mode)
    assert padded.shape[1:4] == g.padded_size
    back = padding_kernels.pad_adjoint_kernel(padded, g.padding, g.padding_mode)
    assert back.shape == x.shape


def run_layers() -> None:
    """Launch every kernel of the norms, pools and resampling."""
    x, few = mx.zeros((2, 60, 4)), mx.zeros((2, 4))
    assert norm.sums_kernel(x, x, few, 60).shape == (2, 2, 4)
    assert norm.affine_kernel(x, few, x, few, few, few).shape == x.shape
    x, windows = x.reshape(2, 3, 4, 5, 4), tuple(map(Adaptive, (3, 4, 5), (2, 2, 2)))
    y = pooling.max_pool_kernel(x, windows)
    place = pooling.places_kernel(x, windows)
    dx = pooling.max_pool_gradient_kernel(y, place, windows, x.shape)
    assert y.shape == place.shape == (2, 2, 2, 2, 4)
    assert dx.shape == x.shape
    assert upsampling.resample_kernel(x, (Repeat(2),) * 3).shape == (2, 6, 8, 10, 4)


def test_every_kernel_file_is_launched_and_every_launched_kernel_has_a_file(launches):
    run_all(geometry_of((4, 4, 2)))
    run_layers()
    multiply_add_kernel(mx.zeros(4), rounds=1)
    launched = {made["name"].removeprefix("lucid_") for made in launches}
    assert FILES.keys() == {f"{name}.metal" for name in launched | {"common"}}


@pytest.mark.parametrize("name", FILES)
def test_a_kernel_is_pure_ascii(name):
    assert FILES[name].isascii()


def test_a_kernel_is_made_of_its_file_and_the_common_one(launches):
    run_all(geometry_of((4, 4, 2)))
    run_layers()
    for made in launches:
        file = made["name"].removeprefix("lucid_") + ".metal"
        assert made["source"] == FILES[file].decode()
        assert made["header"] == FILES["common.metal"].decode()


def test_an_unknown_kernel_is_an_error_naming_it():
    with pytest.raises(FileNotFoundError, match="no_such_kernel"):
        launch.source("no_such_kernel")


def test_every_input_is_named_in_its_source(launches):
    run_all(geometry_of((4, 4, 2)))
    run_layers()
    for made in launches:
        words = made["source"].replace("_shape", " ")
        assert len(made["inputs"]) == len(made["input_names"])
        for name in made["input_names"]:
            assert any(f"{name}{end}" in words for end in ("[", " ", ")")), name


def test_every_template_constant_is_named_in_its_source(launches):
    run_all(geometry_of((4, 4, 2)))
    run_layers()
    for made in launches:
        text = made["source"] + made["header"]
        for name, _ in made["template"]:
            assert name in text, (made["name"], name)


def test_a_kernel_is_made_once_for_its_inputs(monkeypatch):
    made = []
    monkeypatch.setattr(
        mx.fast, "metal_kernel", lambda **options: made.append(options) or options
    )
    launch.compiled.cache_clear()
    first = launch.compiled("pad", ("x", "size", "before"))
    assert launch.compiled("pad", ("x", "size", "before")) is first
    assert len(made) == 1
    launch.compiled.cache_clear()  # of what was not made by MLX


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=str)
@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("channels", CHANNELS, ids=str)
def test_every_output_element_has_its_thread(launches, channels, mode, dtype):
    """Grid times the elements of a thread covers the output, with less than a strip
    too much in each row."""
    geometry = geometry_of(channels, mode=mode)
    run_all(geometry, dtype)
    assert len(launches) == 6
    for asked in launches:
        assert dict(asked["template"])["T"] == dtype
        (shape,) = asked["output_shapes"]
        constants = dict(asked["template"])
        x, y, z = asked["grid"]
        if asked["name"] == "lucid_conv_weight_gradient":
            per_thread = constants["VEC"] * constants["LANES"] * constants["KB"]
            assert x * y * z * per_thread == math.prod(shape)
            assert z == weight_gradient_splits(geometry, dtype.size).count
            continue
        n, d, h, w, c = shape
        assert (y, z) == (h, n * d)
        width = constants.get("TW", 1)
        covered = x * constants["VEC"] * width
        assert w * c <= covered < (w + 2 * width) * c


@pytest.mark.parametrize("channels", CHANNELS, ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("before", range(5))
def test_the_strips_of_an_input_gradient_meet_every_voxel(
    launches, channels, stride, before
):
    padding = (*ONE[:2], (before, 1))
    geometry = geometry_of(channels, stride=stride, padding=padding)
    c, w = geometry.in_channels, geometry.input_size[2]
    dy = mx.zeros((2, *geometry.output_size, geometry.out_channels))
    weight = mx.zeros((geometry.out_channels, c // geometry.groups, 3, 3, 3))
    METAL.input_gradient(dy, weight, geometry)
    constants = dict(launches[0]["template"])
    width, lanes = constants["TW"], c // constants["VEC"]
    assert width % stride == 0
    starts = [
        before // stride * stride + strip * width
        for strip in range(launches[0]["grid"][0] // lanes)
    ]
    covered = {start + t for start in starts for t in range(width)}
    voxels = set(range(before, before + w))
    assert voxels <= covered
    assert all(voxels & set(range(start, start + width)) for start in starts)


@pytest.mark.parametrize("channels", CHANNELS, ids=str)
@pytest.mark.parametrize("kernel", [1, 2, 3, 5, (3, 1, 7)])
def test_the_splits_of_a_weight_gradient_share_out_every_row(channels, kernel):
    for size, batch in itertools.product([(4, 5, 7), (9, 31, 33), (1, 1, 9)], [2]):
        padding = ((3, 3), (3, 3), (3, 3))
        geometry = geometry_of(channels, size, kernel, padding=padding)
        rows = batch * math.prod(geometry.output_size[:2])
        splits = weight_gradient_splits(geometry, 4)
        assert (splits.count - 1) * splits.rows < rows
        assert splits.count * splits.rows >= rows
        assert geometry.kernel_size[2] % weight_gradient_plan(geometry).taps == 0


GRIDS = [1, 2, 3, 7, 17, 31, 64, 127, 255, 256, 257, 1000]


@pytest.mark.parametrize("x", GRIDS)
def test_a_threadgroup_fits_its_grid_and_the_limit(x):
    for y, z in itertools.product(GRIDS, GRIDS):
        group = launch.threadgroup((x, y, z))
        assert math.prod(group) <= 256
        assert all(1 <= t <= g for t, g in zip(group, (x, y, z), strict=True))


@pytest.mark.parametrize(
    ("grid", "group"),
    [
        ((1000, 9, 9), (256, 1, 1)),
        ((100, 9, 9), (100, 2, 1)),
        ((7, 5, 900), (7, 5, 7)),
        ((1, 1, 900), (1, 1, 256)),
        ((3, 2, 2), (3, 2, 2)),
    ],
    ids=str,
)
def test_a_threadgroup_takes_neighbors_along_x_first(grid, group):
    assert launch.threadgroup(grid) == group


def test_a_launch_asks_for_that_threadgroup(launches):
    run_all(geometry_of((1, 32, 1), size=(9, 31, 65)))
    for asked in launches:
        assert asked["threadgroup"] == launch.threadgroup(asked["grid"])


def test_integers_are_int32_and_made_once():
    first = launch.integers(3, 1, 2)
    assert first.dtype == mx.int32
    assert first.tolist() == [3, 1, 2]
    assert launch.integers(3, 1, 2) is first
    assert launch.integers(3, 2, 1) is not first


def test_no_argument_of_integers_outgrows_constant_memory(launches):
    """The kernels index them as `constant`, which MLX makes of fewer than 8 numbers."""
    run_all(geometry_of((4, 4, 2)))
    for asked in launches:
        for array in asked["inputs"]:
            if array.dtype == mx.int32:
                assert array.size < 8
