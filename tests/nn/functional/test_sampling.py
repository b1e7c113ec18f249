"""`F.grid_sample` and `F.affine_grid` against their definitions in float64."""

from __future__ import annotations

from collections.abc import Iterator
import itertools

import lucid
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle import uniform
from tests.oracle.tolerances import assert_close

OPTIONS = list(
    itertools.product(
        ("bilinear", "nearest"), ("zeros", "border", "reflection"), (False, True)
    )
)


def place(point: float, n: int, padding_mode: str, aligned: bool) -> float:
    """A coordinate from -1 to 1 in voxels, brought into the volume."""
    x = (point + 1) / 2 * (n - 1) if aligned else ((point + 1) * n - 1) / 2
    if padding_mode == "reflection":
        low, high = (0.0, n - 1.0) if aligned else (-0.5, n - 0.5)
        while high > low and not low <= x <= high:
            x = 2 * low - x if x < low else 2 * high - x
        x = x if high > low else 0.0
    return x if padding_mode == "zeros" else min(max(x, 0.0), n - 1.0)


def taps(
    point: np.ndarray,
    size: tuple[int, ...],
    mode: str,
    padding_mode: str,
    aligned: bool,
) -> Iterator[tuple[tuple[int, ...], float]]:
    """The voxels (d, h, w) that a point (x, y, z) takes from, and how much."""
    axes = []
    for x, n in zip(point[::-1], size, strict=True):
        at = place(x, n, padding_mode, aligned)
        if mode == "nearest":
            axes.append([(round(at), 1.0)])
        else:
            below = int(np.floor(at))
            axes.append([(below, below + 1 - at), (below + 1, at - below)])
    for corner in itertools.product(*axes):
        voxel = tuple(i for i, _ in corner)
        if all(0 <= i < n for i, n in zip(voxel, size, strict=True)):
            yield voxel, float(np.prod([part for _, part in corner]))


def sampled(x: np.ndarray, grid: np.ndarray, *options) -> np.ndarray:
    x, out = x.astype(float), np.zeros((*x.shape[:2], *grid.shape[1:4]))
    for n, *at in np.ndindex(grid.shape[:4]):
        for voxel, part in taps(grid[(n, *at)], x.shape[2:], *options):
            out[(n, slice(None), *at)] += part * x[(n, slice(None), *voxel)]
    return out


def scattered(dy: np.ndarray, grid: np.ndarray, shape, *options) -> np.ndarray:
    """The gradient of the input."""
    dx = np.zeros(shape)
    for n, *at in np.ndindex(grid.shape[:4]):
        for voxel, part in taps(grid[(n, *at)], shape[2:], *options):
            dx[(n, slice(None), *voxel)] += part * dy[(n, slice(None), *at)]
    return dx


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = uniform(rng, (2, 3, 4, 5, 3))
    grid = rng.uniform(-1.7, 1.7, (2, 3, 2, 4, 3)).astype(np.float32)
    return x, grid, uniform(rng, (2, 3, 3, 2, 4))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_output_and_gradients_equal_the_definition(options):
    x, grid, dy = problem()
    (y,), (dx, dgrid) = mx.vjp(
        lambda x, grid: F.grid_sample(x, grid, *options),
        [mx.array(x), mx.array(grid)],
        [mx.array(dy)],
    )
    assert_close(y, sampled(x, grid, *options), "output")
    assert_close(dx, scattered(dy, grid, x.shape, *options), "dx")
    slope = np.zeros(grid.shape)
    step = 1e-6
    for axis in range(3):
        along = step * np.eye(3)[axis]
        after, before = (sampled(x, grid + s * along, *options) for s in (1, -1))
        slope[..., axis] = ((after - before) * dy).sum(axis=1) / (2 * step)
    if options[0] == "nearest":
        assert (dgrid == 0).all()
    else:
        # It may cancel: it is compared with what it is made of.
        assert np.abs(np.array(dgrid) - slope).max() <= 2e-5 * dy.sum()


@pytest.mark.parametrize("options", OPTIONS[:6], ids=str)
def test_second_gradients_are_the_slopes_of_the_first(options):
    x, grid, dy = map(mx.array, problem(1))

    def squares(x: mx.array, grid: mx.array) -> mx.array:
        _, grads = mx.vjp(
            lambda x, grid: F.grid_sample(x, grid, *options), [x, grid], [dy]
        )
        return sum(g.square().mean() for g in grads)

    got = mx.grad(squares, (0, 1))(x, grid)
    for i, gradient in enumerate(got):
        rng = np.random.default_rng(2)
        along = mx.array(rng.uniform(-1e-3, 1e-3, gradient.shape).astype(np.float32))
        moved = [
            squares(*[a + s * along if j == i else a for j, a in enumerate((x, grid))])
            for s in (1, -1)
        ]
        want = (moved[0] - moved[1]).item() / 2
        assert (gradient * along).sum().item() == pytest.approx(want, rel=2e-2)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_forward_mode_is_the_slope_along_the_tangents(options):
    x, grid, _ = problem(3)
    rng = np.random.default_rng(4)
    dx, dgrid = uniform(rng, x.shape), uniform(rng, grid.shape)
    step = 1e-6  # so short that no point comes to another voxel
    for tangents in ((dx, np.zeros_like(dgrid)), (np.zeros_like(dx), dgrid)):
        _, (got,) = mx.jvp(
            lambda x, grid: F.grid_sample(x, grid, *options),
            [mx.array(x), mx.array(grid)],
            [mx.array(t) for t in tangents],
        )
        along = [step * t.astype(float) for t in tangents]
        after, before = (
            sampled(x + s * along[0], grid + s * along[1], *options) for s in (1, -1)
        )
        assert_close(got, (after - before) / (2 * step), "tangent")


def test_the_gradient_is_the_same_bits_each_time():
    x, grid = lucid.randn(1, 2, 6, 6, 6), lucid.rand(1, 9, 9, 9, 3) - 0.5
    gradient = mx.grad(lambda x: F.grid_sample(x, grid).square().sum())
    assert mx.array_equal(gradient(x), gradient(x))


def test_many_points_of_one_voxel_are_all_summed():
    x, grid = lucid.zeros(1, 1, 3, 3, 3), lucid.zeros(1, 10, 10, 10, 3)
    dx = mx.grad(lambda x: F.grid_sample(x, grid).sum())(x)
    assert dx[0, 0, 1, 1, 1].item() == 1000
    assert dx.sum().item() == 1000


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_no_point_reads_outside(options, value):
    x = lucid.ones(1, 1, 3, 3, 3)
    grid = mx.full((1, 1, 1, 1, 3), value)
    y, dx = mx.value_and_grad(lambda x: F.grid_sample(x, grid, *options).sum())(x)
    if options[1] == "zeros":
        assert y.item() == 0
        assert (dx == 0).all()


def test_what_is_not_finite_stays_where_it_is():
    x = np.ones((1, 1, 4, 4, 4), np.float32)
    x[0, 0, 0, 0, 0] = np.inf
    grid = mx.array(np.array([[-5, -5, -5], [0.9, 0.9, 0.9], [0, 0, 0]], np.float32))
    y = F.grid_sample(mx.array(x), grid.reshape(1, 1, 1, 3, 3))
    assert np.isfinite(np.array(y)).all()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16], ids=str)
def test_half_types_are_summed_in_float32(dtype):
    x, grid, dy = (mx.array(a).astype(dtype) for a in problem())
    results = []
    for cast in (dtype, mx.float32):
        ys, gradients = mx.vjp(
            F.grid_sample, [x.astype(cast), grid.astype(cast)], [dy.astype(cast)]
        )
        results.append([array.astype(dtype) for array in (*ys, *gradients)])
    for half, single in zip(*results, strict=True):
        assert mx.array_equal(half, single)


def test_an_empty_batch_has_an_output_and_gradients():
    x, grid = lucid.zeros(0, 2, 3, 3, 3), lucid.zeros(0, 2, 2, 2, 3)
    assert F.grid_sample(x, grid).shape == (0, 2, 2, 2, 2)
    dx, dgrid = mx.grad(lambda x, g: F.grid_sample(x, g).sum(), (0, 1))(x, grid)
    assert (dx.shape, dgrid.shape) == (x.shape, grid.shape)


@pytest.mark.slow  # it compiles C++
def test_compiled_it_is_the_same():
    x, grid, _ = map(mx.array, problem())
    want = F.grid_sample(x, grid)
    assert mx.allclose(mx.compile(F.grid_sample)(x, grid), want, atol=1e-6)


def test_mapped_it_is_the_same():
    x, grid, _ = map(mx.array, problem())
    want = F.grid_sample(x, grid)
    mapped = mx.vmap(lambda x, g: F.grid_sample(x[None], g[None])[0])(x, grid)
    assert mx.allclose(mapped, want, atol=1e-6)


def test_plain_operations_can_be_exported_and_their_gradient_mapped(tmp_path):
    x, grid, _ = map(mx.array, problem())
    path = str(tmp_path / "warp.mlxfn")

    def squares(x: mx.array, grid: mx.array) -> mx.array:
        return F.grid_sample(x[None], grid[None]).square().sum()

    want = mx.stack([mx.grad(squares)(a, b) for a, b in zip(x, grid, strict=True)])
    with lucid.plain_operations():
        mx.export_function(path, F.grid_sample, x, grid)
        mapped = mx.vmap(mx.grad(squares))(x, grid)
    (got,) = mx.import_function(path)(x, grid)
    assert_close(got, F.grid_sample(x, grid), "output")
    assert_close(mapped, want, "dx")


@pytest.mark.parametrize("aligned", [False, True])
def test_the_grid_of_the_identity_gives_the_volume(aligned):
    theta = mx.array(np.eye(3, 4, dtype=np.float32)[None])
    x = lucid.randn(1, 2, 4, 1, 6)
    grid = F.affine_grid(theta, x.shape, aligned)
    assert_close(F.grid_sample(x, grid, align_corners=aligned), x, "output")


def test_an_affine_grid_is_the_map_of_each_voxels_center():
    theta = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    grid = np.array(F.affine_grid(mx.array(theta), (2, 1, 2, 4, 5)))
    for n, d, h, w in np.ndindex(grid.shape[:4]):
        center = [(2 * w + 1) / 5 - 1, (2 * h + 1) / 4 - 1, (2 * d + 1) / 2 - 1, 1]
        np.testing.assert_allclose(grid[n, d, h, w], theta[n] @ center, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": (2, 2, 2, 2, 3)}, "`grid` must have shape"),
        ({"grid": (1, 2, 2, 2, 2)}, "`grid` must have shape"),
        ({"grid": (1, 2, 2, 3)}, "`grid` must have shape"),
        ({"input": (1, 4, 4, 4)}, "`input` must be 5-D"),
        ({"input": (1, 1, 0, 4, 4)}, "`input` must have at least one"),
        ({"mode": "bicubic"}, "`mode`"),
        ({"padding_mode": "reflect"}, "`padding_mode`"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(changes, message):
    arguments = {"input": (1, 1, 4, 4, 4), "grid": (1, 2, 2, 2, 3)} | changes
    given = {
        name: lucid.ones(value) if isinstance(value, tuple) else value
        for name, value in arguments.items()
    }
    with pytest.raises(ValueError, match=message):
        F.grid_sample(**given)


def test_a_wrong_type_is_refused_by_name():
    x, grid = lucid.ones(1, 1, 2, 2, 2), lucid.ones(1, 1, 1, 1, 3)
    with pytest.raises(TypeError, match="`input` "):
        F.grid_sample(np.ones((1, 1, 2, 2, 2)), grid)
    with pytest.raises(TypeError, match=r"`grid` .*dtype of `input`"):
        F.grid_sample(x, grid.astype(mx.float16))
    with pytest.raises(TypeError, match="`input` "):
        F.grid_sample(x.astype(mx.int32), grid.astype(mx.int32))
    with pytest.raises(TypeError, match="`mode` "):
        F.grid_sample(x, grid, mode=None)
    with pytest.raises(TypeError, match="`align_corners` "):
        F.grid_sample(x, grid, align_corners="no")


@pytest.mark.parametrize(
    ("theta", "size", "error", "message"),
    [
        ((1, 3, 3), (1, 1, 2, 2, 2), ValueError, "`theta` must have shape"),
        ((2, 3, 4), (1, 1, 2, 2, 2), ValueError, "`theta` must have shape"),
        ((1, 3, 4), (1, 1, 2, 2), ValueError, "`size`"),
        ((1, 3, 4), (1, 1, 2, 2, 0), ValueError, "`size`"),
        ((1, 3, 4), (1, 1, 2**30, 2**30, 2), ValueError, "`size`"),
        ((1, 3, 4), (1, 1, 2, 2, 2.0), TypeError, "`size`"),
        ((1, 3, 4), 8, TypeError, "`size`"),
    ],
)
def test_a_bad_affine_grid_is_refused(theta, size, error, message):
    with pytest.raises(error, match=message):
        F.affine_grid(lucid.ones(theta), size)
