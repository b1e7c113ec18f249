"""`lucid.metal.explain` says which path a layer takes, why, and what it holds."""

from __future__ import annotations

import lucid
import lucid.metal
import lucid.nn as nn
import mlx.core as mx
import pytest

from tests.test_choice import geometry_of


@pytest.fixture(autouse=True)
def kernels_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUCID_METAL", raising=False)


EXAMPLE = (1, 32, 64, 64, 64)


def test_each_pass_of_a_layer_is_explained():
    layer = nn.Conv3d(32, 32, 3, padding=1, groups=32, padding_mode="reflect")
    first, *lines, last = lucid.metal.explain(layer, EXAMPLE).splitlines()
    assert first == f"{EXAMPLE} -> {EXAMPLE}, float32"
    passes = ("forward", "input gradient", "weight gradient")
    picks = [line for line in lines if not line.startswith("  ")]
    assert picks == [f"{name}: Lucid's Metal kernels" for name in passes]
    assert len(lines) == 9  # each with its reason, and that of the other
    assert last.startswith("temporaries: ")


def test_what_is_held_beside_the_formulations_own_is_named():
    padded = nn.Conv3d(128, 128, 3, padding=1, padding_mode="circular")
    assert "padded by a Metal kernel" in lucid.metal.explain(padded, (1, 128, 8, 8, 8))
    folded = nn.Conv3d(4, 4, 3, padding=1, padding_mode="circular")
    assert "padded by" not in lucid.metal.explain(folded, (1, 4, 8, 8, 8))
    with lucid.plain_operations():
        text = lucid.metal.explain(folded, (1, 4, 8, 8, 8), dtype="float16")
    assert "copies in float32" in text


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"padding": "same"},
        {"padding": "valid", "stride": 2},
        {"padding": (1, 0, 2), "dilation": (1, 2, 1), "groups": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_lazy_and_eager_layers_and_their_geometry_are_explained_alike(options, mode):
    options = {**options, "padding_mode": mode}
    lazy, eager = nn.LazyConv3d(8, 3, **options), nn.Conv3d(4, 8, 3, **options)
    shape = (2, 4, 8, 9, 10)
    text = lucid.metal.explain(eager, shape)
    assert lucid.metal.explain(lazy, shape) == text
    assert lazy.has_uninitialized_params()
    assert f"-> {eager(mx.zeros(shape)).shape}, float32" in text


def test_a_geometry_is_explained_without_a_shape():
    geometry = geometry_of(1, 1, 8)
    layer = nn.Conv3d(8, 8, 3, padding=1, groups=8)
    expected = lucid.metal.explain(layer, (1, 8, 24, 24, 24))
    assert lucid.metal.explain(geometry) == expected


@pytest.mark.parametrize("dtype", ["float16", mx.float16], ids=str)
def test_a_dtype_may_be_named(dtype):
    text = lucid.metal.explain(geometry_of(1, 1, 8), dtype=dtype)
    assert text.splitlines()[0].endswith(", float16")


def test_a_layer_needs_a_shape():
    with pytest.raises(TypeError, match="`input_shape`"):
        lucid.metal.explain(nn.Conv3d(4, 4, 3))


@pytest.mark.parametrize("shape", [(4, 8, 8, 8), (4,), (), (1, 1, 4, 8, 8, 8)], ids=str)
def test_a_shape_of_another_rank_is_refused(shape):
    with pytest.raises(ValueError, match=r"`input_shape`.*\(N, C, D, H, W\)"):
        lucid.metal.explain(nn.Conv3d(4, 4, 3), shape)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 4, 2, 8, 8), "`kernel_size`"),
        ((1, 3, 8, 8, 8), "`groups`"),
        ((1, 0, 8, 8, 8), "channel"),
    ],
)
def test_a_shape_that_the_layer_cannot_take_is_refused_in_its_words(shape, words):
    with pytest.raises(ValueError, match=words):
        lucid.metal.explain(nn.LazyConv3d(4, 3, groups=2), shape)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(TypeError, match="`dtype`"):
        lucid.metal.explain(geometry_of(4, 4), dtype="float8")


def test_disabled_kernels_are_explained_as_plain_operations():
    with lucid.plain_operations():
        text = lucid.metal.explain(geometry_of(1, 1, 8))
    assert "forward: columns\n  Lucid's Metal kernels are switched off" in text


def test_an_empty_batch_is_explained():
    text = lucid.metal.explain(nn.Conv3d(4, 4, 3), (0, 4, 8, 8, 8))
    assert "forward: columns\n  an empty batch" in text


def test_a_layers_dtype_is_taken():
    layer = nn.Conv3d(4, 4, 3, groups=4, dtype="float16")
    text = lucid.metal.explain(layer, (1, 4, 8, 8, 8))
    assert text.splitlines()[0].endswith(", float16")


def test_a_shape_of_other_channels_is_refused():
    with pytest.raises(ValueError, match="6 channels"):
        lucid.metal.explain(nn.Conv3d(4, 8, 3), (1, 6, 8, 8, 8))


@pytest.mark.parametrize("what", [int, mx.zeros(3), "conv", nn.ReLU()], ids=repr)
def test_what_is_no_convolution_is_refused(what):
    with pytest.raises(TypeError, match="no Conv3d"):
        lucid.metal.explain(what, (1, 4, 8, 8, 8))


@pytest.mark.parametrize("shape", [5, "abcde", (1, 4, 8.5, 8, 8)], ids=repr)
def test_a_shape_that_is_no_tuple_of_ints_is_refused(shape):
    with pytest.raises(TypeError, match="`input_shape`"):
        lucid.metal.explain(nn.Conv3d(4, 4, 3), shape)


def test_a_negative_batch_is_refused():
    with pytest.raises(ValueError, match="`input_shape`"):
        lucid.metal.explain(nn.Conv3d(4, 4, 3), (-1, 4, 8, 8, 8))


def test_a_geometry_has_a_shape_of_its_own():
    with pytest.raises(TypeError, match="`input_shape`"):
        lucid.metal.explain(geometry_of(4, 4), (1, 4, 8, 8, 8))


def test_a_dtype_that_no_layer_has_is_refused():
    with pytest.raises(TypeError, match=r"`dtype` .*int32"):
        lucid.metal.explain(geometry_of(4, 4), dtype="int32")
