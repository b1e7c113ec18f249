"""Which path a convolution takes on a GPU, and why."""

from __future__ import annotations

import dataclasses

from lucid import _device
from lucid.geometry import ConvGeometry
import lucid.metal
from lucid.metal import choice, convolve
from lucid.metal.choice import Choice, choose
import mlx.core as mx
import pytest

from tests.oracle.direct import triple


@pytest.fixture
def metal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of Apple's, without one."""
    monkeypatch.setattr(_device, "has_metal", lambda: True)
    monkeypatch.delenv("LUCID_METAL", raising=False)


def geometry_of(
    c: int,
    o: int,
    groups: int = 1,
    kernel=3,
    stride=1,
    padding: int = 0,
    batch: int = 2,
) -> ConvGeometry:
    """`c` and `o` are the channels of a group."""
    sides = ((padding, padding),) * 3
    sizes = (triple(8), triple(kernel), triple(stride), sides, triple(1))
    return ConvGeometry(batch, c * groups, o * groups, *sizes, groups, "zeros")


def path(*arguments, **options) -> str:
    return choose(geometry_of(*arguments, **options), kernels=True).path


@pytest.mark.parametrize("groups", [1, 2, 32])
@pytest.mark.parametrize(
    ("c", "o", "kernels"),
    [
        *[(1, 1, True), (1, 4, True), (2, 2, True), (4, 4, True), (8, 8, True)],
        *[(16, 16, False), (24, 24, False), (32, 32, False)],
        # A first layer: C = 8 is half of what MLX pads to.
        *[(1, 32, True), (2, 64, True), (3, 32, True), (4, 64, True), (5, 32, True)],
        *[(8, 32, False), (16, 64, False)],
        # A head.
        *[
            (32, 1, True),
            (32, 2, True),
            (64, 2, True),
            (64, 3, False),
            (64, 8, False),
            (60, 3, True),
        ],
    ],
)
def test_few_channels_are_for_kernels_and_many_for_mlx(c, o, kernels, groups):
    mlx = "mx.conv3d" if groups == 1 else "mx.conv3d by group"
    assert path(c, o, groups) == ("kernels" if kernels else mlx)


@pytest.mark.parametrize(
    ("c", "o", "times"),
    [
        (8, 8, 4),
        (8, 16, 2),
        (8, 15, 256 / 120),
        (16, 7, 8 / 7),
        (11, 12, 256 / 132),
        (17, 16, 32 / 17),
        (17, 17, 1024 / 289),
        (16, 16, 1),
        (7, 33, 16 * 48 / 231),
    ],
)
def test_the_limit_is_in_the_products_that_mlx_would_do(monkeypatch, c, o, times):
    for waste, expected in ((times, "mx.conv3d"), (times * 0.999, "kernels")):
        monkeypatch.setattr(choice, "WASTE", waste)
        assert path(c, o) == expected


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_kernel_of_one_voxel_is_a_matrix_product(stride, padding):
    options = {"kernel": 1, "stride": stride, "padding": padding}
    assert path(3, 5, **options) == ("kernels" if padding else "matmul")
    assert path(64, 64, **options) == ("mx.conv3d" if padding else "matmul")


def test_a_kernel_of_one_voxel_with_groups_is_none():
    assert path(2, 2, groups=2, kernel=1) == "kernels"
    assert path(16, 16, groups=2, kernel=1) == "mx.conv3d by group"


@pytest.mark.parametrize("kernel", [(1, 1, 2), (1, 2, 1), (2, 1, 1)])
def test_a_kernel_of_two_voxels_is_no_matrix_product(kernel):
    assert path(64, 64, kernel=kernel) == "mx.conv3d"


@pytest.mark.parametrize("side", range(6))
def test_padding_on_any_side_is_no_matrix_product(side):
    sides = [0] * 6
    sides[side] = 1
    padding = tuple(zip(sides[::2], sides[1::2], strict=True))
    geometry = geometry_of(64, 64, kernel=1)
    assert choose(geometry, kernels=True).path == "matmul"
    padded = dataclasses.replace(geometry, padding=padding)
    assert choose(padded, kernels=True).path == "mx.conv3d"


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(("c", "o", "groups"), [(1, 1, 4), (32, 32, 1), (16, 16, 2)])
def test_the_padding_mode_makes_no_difference(c, o, groups, mode):
    zeros = geometry_of(c, o, groups, padding=1)
    other = dataclasses.replace(zeros, padding_mode=mode)
    assert choose(other, kernels=True) == choose(zeros, kernels=True)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize(("c", "o", "groups"), [(1, 1, 4), (64, 64, 1), (16, 16, 2)])
def test_an_empty_batch_is_columns(c, o, groups, kernels):
    for kernel in (1, 3):
        chosen = choose(geometry_of(c, o, groups, kernel, batch=0), kernels)
        assert chosen.path == "columns"
        assert "empty batch" in chosen.reason


LAYERS = {
    "depthwise": geometry_of(1, 1, 4),
    "dense": geometry_of(32, 32),
    "pointwise": geometry_of(32, 32, kernel=1),
    "wide groups": geometry_of(16, 16, 2),
}
PLAIN = ["columns", "mx.conv3d, plain", "mx.conv3d, plain", "columns"]
OURS = ["kernels", "mx.conv3d", "matmul", "mx.conv3d by group"]


def paths(kernels: bool) -> list[str]:
    return [choose(geometry, kernels).path for geometry in LAYERS.values()]


def test_without_kernels_the_paths_are_plain_operations():
    assert paths(kernels=True) == OURS
    assert paths(kernels=False) == PLAIN
    assert "not Apple's" in choose(LAYERS["dense"], kernels=False).reason


def test_a_call_takes_the_paths_that_the_switch_says(metal, monkeypatch):
    """`convolve.conv3d` asks at every call."""
    taken: list[tuple[ConvGeometry, bool]] = []

    def spy(geometry: ConvGeometry, kernels: bool) -> Choice:
        taken.append((geometry, kernels))
        return Choice("mx.conv3d, plain", "")

    monkeypatch.setattr(convolve, "choose", spy)
    geometry = LAYERS["dense"]
    x, w = mx.zeros((2, 32, 8, 8, 8)), mx.zeros((32, 32, 3, 3, 3))
    convolve.conv3d(x, w, None, geometry)
    with lucid.plain_operations():
        convolve.conv3d(x, w, None, geometry)
    monkeypatch.setattr(_device, "has_metal", lambda: False)
    convolve.conv3d(x, w, None, geometry)
    assert taken == [(geometry, True), (geometry, False), (geometry, False)]


@pytest.mark.parametrize("has_metal", [True, False])
def test_the_kernels_need_a_gpu_of_apples(metal, monkeypatch, has_metal):
    monkeypatch.setattr(_device, "has_metal", lambda: has_metal)
    assert lucid.metal.enabled() is has_metal


@pytest.mark.parametrize(
    ("value", "enabled"), [("0", False), ("1", True), ("", True), ("no", True)]
)
def test_lucid_metal_0_turns_the_kernels_off(metal, monkeypatch, value, enabled):
    """Read at every call."""
    assert lucid.metal.enabled()
    monkeypatch.setenv("LUCID_METAL", value)
    assert lucid.metal.enabled() is enabled
    monkeypatch.delenv("LUCID_METAL")
    assert lucid.metal.enabled()


def test_disabled_turns_the_kernels_off_for_a_while(metal):
    with lucid.plain_operations():
        assert not lucid.metal.enabled()
        with lucid.plain_operations():
            assert not lucid.metal.enabled()
        assert not lucid.metal.enabled()
    assert lucid.metal.enabled()


def test_an_exception_within_disabled_turns_the_kernels_on_again(metal):
    with pytest.raises(KeyError), lucid.plain_operations():
        raise KeyError
    assert lucid.metal.enabled()


def test_an_exception_within_the_inner_of_two_leaves_the_outer(metal):
    with lucid.plain_operations():
        with pytest.raises(KeyError), lucid.plain_operations():
            raise KeyError
        assert not lucid.metal.enabled()


def test_disabled_does_not_override_the_environment(metal, monkeypatch):
    monkeypatch.setenv("LUCID_METAL", "0")
    with lucid.plain_operations():
        pass
    assert not lucid.metal.enabled()


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        (geometry_of(1, 1, 32), ["1 -> 1", "256 times"]),
        (geometry_of(4, 8, 4), ["4 -> 8", "8 times"]),
        (geometry_of(5, 32), ["5 -> 32", "3.2 times"]),
        (geometry_of(64, 2), ["64 -> 2", "4 times"]),
        (geometry_of(16, 32, 2), ["16 -> 32 channels a group"]),
        (geometry_of(64, 64, kernel=1), ["one voxel", "matrix product"]),
        (geometry_of(64, 64), ["MLX's matrix kernels"]),
    ],
    ids=lambda value: None if isinstance(value, list) else f"{value.in_channels}",
)
def test_the_reason_has_the_numbers(geometry, words):
    chosen = choose(geometry, kernels=True)
    assert isinstance(chosen, Choice)
    for word in words:
        assert word in chosen.reason


def test_every_formulation_is_a_path_that_is_chosen():
    """`convolve` knows every path by the name that `choose` gives it."""
    assert set(convolve.FORMULATIONS) == set(OURS) - {"matmul"}
