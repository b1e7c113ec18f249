"""What a call is computed by: the formulation that was chosen, and why."""

from __future__ import annotations

import contextlib

import lucid
from lucid import _device, choice
from lucid.geometry import ConvGeometry
import lucid.nn.functional as F
import mlx.core as mx
import pytest

from tests.metal_emulator import emulated_metal
from tests.oracle.direct import triple


def geometry_of(
    c: int, o: int, groups: int = 1, size=24, kernel=3, stride=1, **changes
) -> ConvGeometry:
    """`c` and `o` are the channels of a group."""
    fields = {
        "batch": 1,
        "padding": ((1, 1),) * 3,
        "dilation": (1, 1, 1),
        "padding_mode": "zeros",
    }
    return ConvGeometry(
        in_channels=c * groups,
        out_channels=o * groups,
        input_size=triple(size),
        kernel_size=triple(kernel),
        stride=triple(stride),
        groups=groups,
        **{**fields, **changes},
    )


NONE = ((0, 0),) * 3
# One geometry of every kind that a network has, far from any limit.
KINDS = {
    "pointwise": geometry_of(32, 64, kernel=1, padding=NONE),
    "halving": geometry_of(32, 64, kernel=2, stride=2, padding=NONE),
    "dense": geometry_of(32, 32),
    "padded otherwise": geometry_of(32, 32, padding_mode="circular"),
    "first layer": geometry_of(1, 32, size=48),
    "last layer": geometry_of(32, 4, size=32),
    "strided": geometry_of(32, 64, size=48, stride=2),
    "dilated": geometry_of(32, 32, dilation=(2, 2, 2), padding=((2, 2),) * 3),
    "grouped": geometry_of(8, 8, groups=4),
    "depthwise": geometry_of(1, 1, groups=32),
    "tiny": geometry_of(4, 8, size=6),
    "empty batch": geometry_of(8, 8, batch=0),
    "longer than MLX can index": geometry_of(8, 8, groups=2, size=290, batch=2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_choice_can_compute_what_it_is_chosen_for(kind):
    geometry = KINDS[kind]
    chosen = [
        choice.choose(geometry),
        *(choice.choose_on_cpu(geometry, plain=plain) for plain in (True, False)),
        *(
            choice.choose_on_gpu(geometry, dtype, metal=metal)
            for metal in (True, False)
            for dtype in (mx.float32, mx.bfloat16)
        ),
    ]
    padded = geometry.without_padding
    for one in chosen:
        for formulation, reason in one.passes.values():
            assert formulation.fits(geometry if formulation.every_mode else padded)
            assert reason
        formulation = one.formulation
        assert formulation.fits(geometry if formulation.every_mode else padded)


@pytest.mark.parametrize("kind", KINDS)
def test_every_candidate_can_compute_its_geometry(kind):
    geometry = KINDS[kind]
    every = choice.candidates(geometry)
    assert every
    for one in every:
        assert one.fits(geometry if one.every_mode else geometry.without_padding)


@pytest.mark.parametrize(
    "device",
    [contextlib.nullcontext, lucid.plain_operations, emulated_metal],
    ids=["CPU", "plain", "GPU"],
)
def test_what_is_chosen_is_a_candidate(device):
    with device():
        for geometry in KINDS.values():
            every = choice.candidates(geometry)
            for dtype in (mx.float32, mx.float16):
                for pick in choice.choose(geometry, dtype).passes.values():
                    assert pick.formulation in every


@pytest.mark.parametrize("kind", KINDS)
def test_plain_operations_take_no_derivative_of_lucids(kind):
    with lucid.plain_operations():
        assert choice.choose(KINDS[kind]).formulation.plain
    assert choice.choose_on_gpu(KINDS[kind], mx.float32, metal=False).formulation.plain


def test_the_kinds_of_a_network_have_formulations_of_their_own():
    def name(kind: str) -> str:
        return choice.choose_on_cpu(KINDS[kind], plain=False).formulation.name

    assert name("dense") == name("padded otherwise") == "Winograd"
    assert name("depthwise") == name("grouped") == name("dilated") == "flat grid"
    assert name("pointwise") == name("halving") == "patches"
    assert name("first layer") == name("empty batch") == "columns"
    assert name("tiny") == "mx.conv3d, plain"
    assert name("last layer") == "flat grid / flat grid / Winograd"


def test_plain_operations_end_with_an_exception_too():
    with pytest.raises(KeyError), lucid.plain_operations():
        raise KeyError
    assert not choice.choose(KINDS["depthwise"]).formulation.plain


def test_huge_volumes_build_and_differentiate():
    """More voxels than the flat grid may have; nothing is evaluated."""
    x, w = mx.zeros((2, 16, 290, 290, 290)), mx.zeros((16, 8, 3, 3, 3))
    gradients = mx.grad(lambda x, w: F.conv3d(x, w, groups=2).sum(), (0, 1))(x, w)
    assert [g.shape for g in gradients] == [x.shape, w.shape]


@pytest.mark.parametrize("groups", [16, 1])
def test_what_mlx_refuses_works_with_plain_operations(tmp_path, groups):
    x = mx.random.uniform(shape=(1, 16, 12, 13, 14))
    w = mx.ones((16, 16 // groups, 3, 3, 3))
    mx.eval(x, w)
    file = str(tmp_path / "conv.mlxfn")

    def conv(x: mx.array) -> mx.array:
        return F.conv3d(x, w, padding=1, groups=groups)

    with pytest.raises(ValueError, match="CustomTransforms"):
        mx.export_function(file, conv, x)
    with lucid.plain_operations():
        mx.export_function(file, conv, x)
    (got,) = mx.import_function(file)(x)
    assert mx.allclose(got, conv(x), rtol=1e-5)


def on_gpu(
    c: int, o: int, groups: int = 1, dtype=mx.float32, **options
) -> choice.Choice:
    geometry = geometry_of(c, o, groups, **options)
    return choice.choose_on_gpu(geometry, dtype, metal=True)


def names(chosen: choice.Choice) -> list[str]:
    """Of forward, input gradient and weight gradient."""
    return [pick.formulation.name for pick in chosen.passes.values()]


OURS, DENSE, BY_GROUP = "Lucid's Metal kernels", "mx.conv3d", "mx.conv3d by group"


@pytest.mark.parametrize("groups", [1, 2, 32])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("c", "o"), [(1, 1), (1, 4), (2, 2), (4, 4), (8, 8), (32, 2), (2, 64)]
)
def test_few_channels_are_for_lucids_kernels(c, o, groups, dtype):
    assert names(on_gpu(c, o, groups, dtype)) == [OURS] * 3


@pytest.mark.parametrize(
    ("groups", "theirs"), [(1, DENSE), (2, BY_GROUP), (32, BY_GROUP)]
)
@pytest.mark.parametrize("channels", [128, 256])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16], ids=str)
def test_many_channels_are_for_mlx(channels, groups, theirs, dtype):
    assert names(on_gpu(channels, channels, groups, dtype, size=48)) == [theirs] * 3


@pytest.mark.parametrize("channels", [16, 32, 64])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16], ids=str)
def test_weight_gradients_of_some_channels_are_lucids_and_the_rest_mlxs(
    channels, dtype
):
    chosen = names(on_gpu(channels, channels, dtype=dtype, size=64))
    assert chosen == [DENSE, DENSE, OURS]


def test_the_dtype_is_part_of_the_choice():
    """Half types halve the bytes that a matrix product of each tap moves."""
    assert names(on_gpu(96, 96, size=64))[2] == OURS
    assert names(on_gpu(96, 96, dtype=mx.float16, size=64))[2] == DENSE


def test_the_passes_of_a_head_are_chosen_apart():
    """A thread of ours makes one output of 32 -> 3 channels, but four of 3 -> 32."""
    assert names(on_gpu(32, 3, size=64)) == [DENSE, OURS, OURS]


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(("c", "o", "groups"), [(1, 1, 4), (32, 32, 1), (8, 8, 2)])
def test_the_padding_mode_makes_no_difference_on_a_gpu(c, o, groups, mode):
    chosen = names(on_gpu(c, o, groups, padding_mode=mode))
    assert chosen == names(on_gpu(c, o, groups))


@pytest.mark.parametrize("kernel", [1, 2])
def test_a_kernel_within_its_stride_is_a_matrix_product_unless_it_is_padded(kernel):
    options = {"kernel": kernel, "stride": 2}
    assert names(on_gpu(64, 64, padding=NONE, **options)) == ["patches"] * 3
    assert "patches" not in names(on_gpu(64, 64, **options))
    uneven = ((0, 0), (0, 0), (0, 1))
    assert "patches" not in names(on_gpu(64, 64, padding=uneven, **options))


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        (geometry_of(1, 1, 32), ["1 -> 1", "256 times"]),
        (geometry_of(4, 8, 4), ["4 -> 8", "8 times"]),
        (geometry_of(64, 2), ["64 -> 2", "4 times"]),
        (geometry_of(64, 128, 2), ["MB of copies"]),
        (geometry_of(64, 64, kernel=1, padding=NONE), ["matrix product"]),
        (geometry_of(64, 64), ["1.2 times as fast", "0.67 of the peak", "0.55 of"]),
        (geometry_of(4, 4, batch=0), ["empty batch"]),
    ],
)
def test_a_gpus_reason_has_the_numbers(geometry, words):
    reason = choice.choose_on_gpu(geometry, mx.float32, metal=True).forward.reason
    for word in words:
        assert word in reason


def test_the_reason_without_metal_kernels_says_so():
    chosen = choice.choose_on_gpu(KINDS["depthwise"], mx.float32, metal=False)
    assert "switched off, or the GPU is not Apple's" in chosen.forward.reason


def test_a_call_asks_at_every_call_whether_there_are_metal_kernels(monkeypatch):
    asked = []

    def spy(geometry: ConvGeometry, dtype: mx.Dtype, metal: bool) -> choice.Choice:
        asked.append(metal)
        return choice.choose_on_cpu(geometry, plain=True)

    monkeypatch.setattr(choice, "choose_on_gpu", spy)
    monkeypatch.setattr(_device, "on_gpu", lambda: True)
    monkeypatch.setattr(_device, "has_metal", lambda: True)
    x, w = mx.zeros((1, 4, 4, 4, 4)), mx.zeros((4, 4, 3, 3, 3))
    F.conv3d(x, w)
    with lucid.plain_operations():
        F.conv3d(x, w)
    monkeypatch.setattr(_device, "has_metal", lambda: False)
    F.conv3d(x, w)
    assert asked == [True, False, False]
