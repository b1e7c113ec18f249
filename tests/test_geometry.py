"""The sizes of a convolution, and the arguments that do not fit together."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

from lucid.geometry import ConvGeometry, conv_geometry
import lucid.nn.functional as F
import mlx.core as mx
import pytest


def geometry(
    size: int = 5,
    kernel: int = 3,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    mode: str = "zeros",
) -> ConvGeometry:
    """A geometry whose height tells, its depth and width being 1 voxel."""
    padding = (0, padding, 0) if isinstance(padding, int) else padding
    return conv_geometry(
        *((2, 4, 1, size, 1), (6, 2, 1, kernel, 1)),
        *((1, stride, 1), padding, (1, dilation, 1), 2, mode),
    )


def test_output_size_counts_the_places_where_the_kernel_fits():
    ranges = (range(1, 8), range(1, 5), range(1, 4), range(4), range(1, 4))
    counted = 0
    for size, kernel, stride, padding, dilation in itertools.product(*ranges):
        starts = range(0, size + 2 * padding, stride)
        last_tap = dilation * (kernel - 1)
        places = sum(start + last_tap < size + 2 * padding for start in starts)
        if places:
            got = geometry(size, kernel, stride, padding, dilation)
            assert got.output_size == (1, places, 1)
            assert got.output_shape == (2, 6, 1, places, 1)
            counted += 1
    assert counted > 500


def test_a_kernel_that_fits_nowhere_is_refused():
    ranges = (range(1, 6), range(1, 5), range(3), range(1, 4))
    for size, kernel, padding, dilation in itertools.product(*ranges):
        if dilation * (kernel - 1) >= size + 2 * padding:
            with pytest.raises(ValueError, match=r"`kernel_size` \(1, .* spans"):
                geometry(size, kernel, 1, padding, dilation)


@pytest.mark.parametrize(
    ("kernel", "dilation", "sides"),
    [(1, 3, (0, 0)), (2, 1, (0, 1)), (2, 3, (1, 2)), (3, 2, (2, 2)), (4, 1, (1, 2))],
)
def test_same_keeps_the_size_with_the_odd_voxel_after(kernel, dilation, sides):
    got = geometry(4, kernel, padding="same", dilation=dilation)
    assert got.padding == ((0, 0), sides, (0, 0))
    assert got.padded_size == (1, 4 + sum(sides), 1)
    assert got.output_size == (1, 4, 1)
    assert got.is_padded == (kernel > 1)


def test_valid_pads_nothing():
    assert geometry(padding="valid") == geometry(padding=0)
    assert not geometry(padding="valid").is_padded


def test_span_counts_the_voxels_between_first_and_last_tap():
    assert geometry(9, kernel=4, dilation=2).span == (1, 7, 1)


def test_three_axes_are_kept_apart():
    options = ((1, 2, 3), (0, 1, 2), (3, 2, 1), 1, "zeros")
    got = conv_geometry((1, 1, 9, 8, 7), (1, 1, 2, 3, 4), *options)
    assert got.span == (4, 5, 4)
    assert got.padding == ((0, 0), (1, 1), (2, 2))
    assert got.output_size == (6, 3, 3)


@pytest.mark.parametrize(("mode", "most"), [("reflect", 4), ("circular", 5)])
def test_padding_is_bounded_by_what_fills_it(mode, most):
    assert geometry(5, padding=most, mode=mode).padded_size == (1, 5 + 2 * most, 1)
    with pytest.raises(ValueError, match=rf"`padding` \(={most + 1}\).*'{mode}'.*=5"):
        geometry(5, padding=most + 1, mode=mode)


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
def test_padding_of_other_modes_has_no_bound(mode):
    assert geometry(1, padding=40, mode=mode).output_size == (1, 79, 1)


def test_same_is_bounded_by_its_larger_side():
    assert geometry(3, kernel=4, padding="same", mode="reflect").output_size[1] == 3
    with pytest.raises(ValueError, match=r"`padding` \(=2\) with mode 'reflect'"):
        geometry(2, kernel=4, padding="same", mode="reflect")


def convolve(input_shape=(1, 4, 5, 5, 5), weight_shape=(6, 4, 3, 3, 3), **options):
    return F.conv3d(mx.zeros(input_shape), mx.zeros(weight_shape), **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 3}, r"`groups` \(=3\) must divide `in_channels` \(=4\)"),
        ({"groups": 10**30}, r"`groups` \(=10+\) must be at most \d+"),
        (
            {"groups": 4, "weight_shape": (6, 1, 3, 3, 3)},
            r"`groups` \(=4\) must divide `out_channels` \(=6\)",
        ),
        ({"groups": 2}, r"`input` has 4 channels.*`groups` \(=2\) takes 8"),
        ({"groups": 0}, r"`groups` \(=0\) must be at least 1"),
        ({"groups": -2}, r"`groups` \(=-2\) must be at least 1"),
        ({"input_shape": (1, 3, 5, 5, 5)}, r"`input` has 3 channels.*takes 4"),
        ({"input_shape": (5, 5, 5)}, r"`input` must be 5-D .* \(5, 5, 5\)"),
        ({"input_shape": (1,) * 6}, r"`input` must be 5-D"),
        ({"input_shape": ()}, r"`input` must be 5-D"),
        ({"weight_shape": (6, 4, 3, 3)}, r"`weight` must be 5-D"),
        ({"input_shape": (1, 0, 5, 5, 5)}, r"`input` .* one channel"),
        ({"input_shape": (4, 5, 5, 0)}, r"`input` .* one voxel"),
        ({"input_shape": (1, 4, 0, 5, 5), "padding": 3}, r"`input` .* one voxel"),
        ({"weight_shape": (0, 4, 3, 3, 3)}, r"`weight` has an empty axis"),
        ({"weight_shape": (6, 0, 3, 3, 3)}, r"`weight` has an empty axis"),
        ({"weight_shape": (6, 4, 3, 0, 3)}, r"`weight` has an empty axis"),
        ({"weight_shape": (6, 4, 6, 1, 1)}, r"`kernel_size` \(6, 1, 1\)"),
        ({"dilation": 3}, r"`kernel_size` .* with `dilation` \(3, 3, 3\)"),
        ({"dilation": 10**9}, r"`dilation`"),
        ({"dilation": 10**9, "padding": "same"}, r"`padding` \(='same'\)"),
        ({"padding": -1}, r"`padding` \(=-1\) must be at least 0"),
        ({"padding": (0, 0, -1)}, r"`padding` .* must be at least 0"),
        ({"padding": 10**9}, r"`padding` \(=.*more than this machine can hold"),
        ({"padding": 10**30}, r"`padding` \(="),
        ({"padding": "full"}, r"`padding` \(='full'\).*'same' or 'valid'"),
        ({"padding": "SAME"}, r"`padding` \(='SAME'\)"),
        ({"padding": ""}, r"`padding` \(=''\)"),
        ({"padding": "same", "stride": 2}, r"`padding` \(='same'\) needs `stride` 1"),
        ({"padding": 5, "padding_mode": "reflect"}, r"`padding` \(=5\).*'reflect'"),
        ({"padding": 6, "padding_mode": "circular"}, r"`padding` \(=6\).*'circular'"),
        ({"padding": 10**9, "padding_mode": "circular"}, r"`padding` \(=10+\)"),
        ({"padding": 10**9, "padding_mode": "replicate"}, r"`padding` \(=.*hold"),
        ({"padding_mode": "constant"}, r"`padding_mode` \(='constant'\)"),
        ({"padding_mode": "Zeros"}, r"`padding_mode` \(='Zeros'\)"),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        convolve(**arguments)


ODD_CALLS = """
import lucid, lucid.nn.functional as F, mlx.core as mx
print(lucid.__name__)
x, empty = mx.ones((1, 2, 4, 4, 4)), mx.ones((0, 2, 4, 4, 4))
one, three = mx.ones((2, 2, 1, 1, 1)), mx.ones((2, 2, 3, 3, 3))
long = mx.broadcast_to(mx.ones((1, 1, 1, 1, 1)), (2, 2, 10**9, 1, 1))
calls = [
    (array, weight, {name: size, "padding_mode": mode})
    for array in (x, empty)
    for weight in (one, three)
    for name in ("stride", "padding", "dilation", "groups")
    for size in (10**5, 10**9, 2**31 - 1, 2**31, 2**63, 10**30)
    for mode in ("zeros", "replicate", "circular")
]
calls += [(x, long, {}), (x, long, {"padding": 10**8}), (empty, long, {})]
calls += [(x[:, :0], one[:, :0], {}), (x, one[:0], {}), (x, one[..., :0], {})]
for array, weight, options in calls:
    def f(array, weight):
        return F.conv3d(array, weight, **options).sum()
    try:
        mx.eval(f(array, weight), mx.grad(f, argnums=(0, 1))(array, weight))
    except Exception as error:
        if not isinstance(error, (TypeError, ValueError)) or "`" not in str(error):
            print(array.shape, weight.shape, options, repr(error))
print(len(calls), "calls survived")
"""


def test_odd_sizes_are_computed_or_refused_by_name_and_nothing_ends_the_process():
    """In a process of its own, as MLX can end one with exit status 0."""
    command = [sys.executable, "-c", ODD_CALLS]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "lucid\n294 calls survived\n"
