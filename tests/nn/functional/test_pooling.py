"""Pools against loops over windows in NumPy."""

from __future__ import annotations

import itertools

import lucid
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle.tolerances import assert_close


def looped(x, starts_and_stops, function):
    """`function` of every window, given where it starts and stops on each axis."""
    out = np.empty((*x.shape[:2], *map(len, starts_and_stops)))
    for place in itertools.product(*map(range, out.shape[2:])):
        window = tuple(
            slice(*ends[i]) for ends, i in zip(starts_and_stops, place, strict=True)
        )
        out[(slice(None), slice(None), *place)] = function(x[(..., *window)])
    return out


def draw(*size, values=None):
    rng = np.random.default_rng(0)
    if values is None:
        return rng.standard_normal((2, 3, *size)).astype(np.float32)
    return rng.integers(0, values, (2, 3, *size)).astype(np.float32)


def mean(window):
    return window.mean((2, 3, 4))


def largest(window):
    return window.max((2, 3, 4))


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [
        ((4, 6, 8), 2, 2),
        ((5, 7, 9), 2, 2),
        ((5, 7, 9), 3, 2),
        ((5, 7, 9), 1, 3),
        ((16, 18, 9), 9, 9),
    ],
)
def test_sliding_windows(size, kernel, stride):
    ends = [[(i, i + kernel) for i in range(0, n - kernel + 1, stride)] for n in size]
    x = draw(*size)
    got = F.max_pool3d(mx.array(x), kernel, stride)
    np.testing.assert_array_equal(np.array(got), looped(x, ends, largest))
    got = F.avg_pool3d(mx.array(x), kernel, stride)
    assert_close(got, looped(x, ends, mean), "mean")


@pytest.mark.parametrize("outputs", [1, 2, 3, 4, (1, 7, 9), (5, 2, 12), (None, 1, 3)])
def test_adaptive_windows(outputs):
    size = (4, 6, 20)
    asked = outputs if isinstance(outputs, tuple) else (outputs,) * 3
    counts = [o or n for o, n in zip(asked, size, strict=True)]
    ends = [
        [(i * n // o, -(-(i + 1) * n // o)) for i in range(o)]
        for n, o in zip(size, counts, strict=True)
    ]
    x = draw(*size)
    got = F.adaptive_max_pool3d(mx.array(x), outputs)
    np.testing.assert_array_equal(np.array(got), looped(x, ends, largest))
    got = F.adaptive_avg_pool3d(mx.array(x), outputs)
    assert_close(got, looped(x, ends, mean), "mean")


@pytest.mark.parametrize(
    "pool",
    [
        lambda x, **kw: F.max_pool3d(x, 2, **kw),
        lambda x, **kw: F.max_pool3d(x, 3, 2, 1, **kw),
        lambda x, **kw: F.max_pool3d(x, 2, 1, 1, 2, True, **kw),
        lambda x, **kw: F.max_pool3d(x, 2, 5, dilation=2, **kw),
        lambda x, **kw: F.max_pool3d(x, 12, **kw),
        lambda x, **kw: F.adaptive_max_pool3d(x, (1, 2, 5), **kw),
    ],
)
def test_of_equal_voxels_the_first_is_the_largest_and_has_the_gradient(pool):
    """The indices say where; scattering the cotangent there is the gradient."""
    x = draw(12, 12, 12, values=3)
    largest, places = pool(mx.array(x), return_indices=True)
    assert places.dtype == mx.int64
    flat, where = x.reshape(2, 3, -1), np.array(places).reshape(2, 3, -1)
    values = np.take_along_axis(flat, where, 2).reshape(largest.shape)
    np.testing.assert_array_equal(values, np.array(largest))
    dy = np.random.default_rng(1).standard_normal(largest.shape).astype(np.float32)
    want = np.zeros(flat.shape)
    for index in np.ndindex(*where.shape):
        want[(*index[:2], where[index])] += dy.reshape(where.shape)[index]
    _, (got,) = mx.vjp(pool, [mx.array(x)], [mx.array(dy)])
    assert_close(got, want.reshape(x.shape), "gradient")


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.avg_pool3d(x, 3, 2, 1),
        lambda x: F.avg_pool3d(x, 2, 5),
        lambda x: F.avg_pool3d(x, (1, 4, 5), 1, (0, 2, 1)),
        lambda x: F.avg_pool3d(x, 3, 2, ceil_mode=True),
    ],
)
def test_the_gradient_of_the_mean_is_its_transpose(pool):
    """Of a linear function, <f(x), dy> = <x, f'(dy)>."""
    x = draw(12, 11, 10)
    y = pool(mx.array(x))
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    _, (dx,) = mx.vjp(pool, [mx.array(x)], [mx.array(dy)])
    ours, others = np.vdot(x, np.array(dx)), np.vdot(np.array(y), dy)
    assert abs(ours - others) < 1e-5 * np.linalg.norm(x) * np.linalg.norm(dx)


def test_the_gradient_of_windows_far_apart_takes_no_memory_for_the_way():
    dx = mx.grad(lambda x: F.max_pool3d(x, 1, 2**30).sum())(mx.ones((1, 1, 2, 2, 2)))
    assert dx.flatten().tolist() == [1] + [0] * 7


def test_indices_count_from_the_first_voxel_of_the_volume():
    x = lucid.zeros(1, 2, 4, 4, 4)
    x[0, 0, 3, 2, 1] = 1.0
    _, places = F.max_pool3d(x, 4, return_indices=True)
    assert places.reshape(-1).tolist() == [3 * 16 + 2 * 4 + 1, 0]


def test_not_a_number_is_the_largest_and_minus_infinity_a_voxel():
    x = mx.full((1, 1, 3, 3, 3), -float("inf"))
    largest, places = F.max_pool3d(x, 3, padding=1, return_indices=True)
    assert (largest.item(), places.item()) == (-float("inf"), 0)
    x[0, 0, 1, 0, 1] = float("nan")
    largest, places = F.max_pool3d(x, 3, padding=1, return_indices=True)
    assert np.isnan(largest.item())
    assert places.item() == 10


def test_what_the_padding_and_the_ragged_end_count_for():
    x = lucid.ones(1, 1, 3, 3, 3)
    corner = F.avg_pool3d(x, 2, 2, 1)[0, 0, 0, 0, 0].item()
    assert corner == 1 / 8
    assert F.avg_pool3d(x, 2, 2, 1, count_include_pad=False).min().item() == 1
    ragged = F.avg_pool3d(x, 2, ceil_mode=True)
    assert ragged.shape == (1, 1, 2, 2, 2)
    assert ragged.min().item() == 1
    assert F.avg_pool3d(x, 3, divisor_override=2).item() == 27 / 2


def test_means_of_half_types_are_taken_in_float32():
    x = mx.full((1, 1, 16, 16, 16), 30.0).astype(mx.float16)
    assert F.adaptive_avg_pool3d(x, 1).item() == 30
    assert F.avg_pool3d(x, 16).item() == 30


LONG = mx.broadcast_to(mx.array(1.0), (1, 1, 2**28, 1, 1))


def test_a_long_axis_is_looked_at_by_its_windows():
    assert F.avg_pool3d(LONG, (2**27, 1, 1)).shape == (1, 1, 2, 1, 1)
    assert F.avg_pool3d(LONG, (1, 1, 1)).shape == LONG.shape
    assert F.adaptive_max_pool3d(LONG, (3, 1, 1)).shape == (1, 1, 3, 1, 1)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: F.max_pool3d(x, 5), "`kernel_size`"),
        (lambda x: F.max_pool3d(x, 0), "`kernel_size`"),
        (lambda x: F.max_pool3d(x, 2, 0), "`stride`"),
        (lambda x: F.max_pool3d(x, 2, padding=2), "`padding`"),
        (lambda x: F.max_pool3d(x, 2, dilation=0), "`dilation`"),
        (lambda x: F.avg_pool3d(x, 2, divisor_override=0), "`divisor_override`"),
        (lambda x: F.adaptive_avg_pool3d(x, 0), "`output_size`"),
        (lambda x: F.adaptive_avg_pool3d(x, (2, 2)), "`output_size`"),
        (lambda x: F.adaptive_max_pool3d(x[0, 0], 2), "`input`"),
        (lambda x: F.max_pool3d(x[:, :0], 2), "`input`"),
        (lambda x: F.max_pool3d(x[:, :, :0], 2), "`input`"),
        (lambda x: F.adaptive_avg_pool3d(x, (2**20 + 1, 1, 1)), "not implemented"),
        (lambda _: F.max_pool3d(LONG, (2**20, 1, 1), 1), "not implemented"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call(lucid.ones(2, 1, 4, 4, 4))


def test_integers_are_refused():
    with pytest.raises(TypeError, match="`input`"):
        F.max_pool3d(lucid.ones(1, 1, 4, 4, 4, dtype="int32"), 2)
