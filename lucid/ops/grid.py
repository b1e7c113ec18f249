"""Convolution on a flat grid, where a kernel tap is an offset and nothing is copied.

The padded input, taken at one residue of the stride along each axis (its phases), lies
on a grid that the outputs share; flattened, the voxels that a tap meets are a run that
starts at the tap's offset. Positions of the grid that are no output compute garbage,
which is cut off; gradients of outputs have zeros there.

Arrays are channels-first and float32, padding is with zeros. Nothing of K times the
input is held.
"""

from __future__ import annotations

from collections.abc import Sequence
import itertools
import math
from typing import NamedTuple

from lucid.geometry import ConvGeometry, Triple
from lucid.ops.bilinear import Formulation
import mlx.core as mx


class _Tap(NamedTuple):
    place: Triple
    phase: Triple
    offset: int


class _Grid(NamedTuple):
    size: Triple
    taps: list[_Tap]

    @property
    def voxels(self) -> int:
        return math.prod(self.size)

    @property
    def reach(self) -> int:
        return max(tap.offset for tap in self.taps)


def _grid(geometry: ConvGeometry) -> _Grid:
    d, h, w = (
        -(-padded // step)
        for padded, step in zip(geometry.padded_size, geometry.stride, strict=True)
    )
    taps = []
    for index in itertools.product(*map(range, geometry.kernel_size)):
        starts = [k * t for k, t in zip(index, geometry.dilation, strict=True)]
        steps = list(zip(starts, geometry.stride, strict=True))
        pd, ph, pw = (start % step for start, step in steps)
        od, oh, ow = (start // step for start, step in steps)
        kd, kh, kw = index
        taps.append(_Tap((kd, kh, kw), (pd, ph, pw), (od * h + oh) * w + ow))
    return _Grid((d, h, w), taps)


def forward(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """A matrix product for each tap, with a run of the flat input."""
    grid = _grid(geometry)
    flat = _phases(x, geometry, grid)
    runs = [(flat[tap.phase], tap.offset) for tap in grid.taps]
    matrices = [_by_group(_at(weight, tap), geometry.groups) for tap in grid.taps]
    y = _accumulate(runs, matrices, _rows(geometry, geometry.in_channels, grid))
    d, h, w = geometry.output_size
    y = y.reshape(geometry.batch, -1, *grid.size)[:, :, :d, :h, :w]
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)


def input_gradient(dy: mx.array, weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """The same products the other way, for each phase; phases are interleaved."""
    grid = _grid(geometry)
    flat = mx.pad(_on_grid(dy, grid).flatten(), (grid.reach, 0))
    rows = _rows(geometry, geometry.out_channels, grid)
    phases = []
    for phase in itertools.product(*map(range, geometry.stride)):
        taps = [tap for tap in grid.taps if tap.phase == phase]
        runs = [(flat, grid.reach - tap.offset) for tap in taps]
        matrices = [
            _by_group(_at(weight, tap), geometry.groups).swapaxes(1, 2) for tap in taps
        ]
        shape = (geometry.batch, geometry.in_channels, *grid.size)
        phases.append(
            _accumulate(runs, matrices, rows).reshape(shape)
            if taps
            else mx.zeros(shape, dy.dtype)
        )
    dx = _interleave(phases, geometry.stride)
    return _inside(dx, geometry)


def weight_gradient(x: mx.array, dy: mx.array, geometry: ConvGeometry) -> mx.array:
    """For each tap the output gradients times the run of voxels that they met."""
    grid = _grid(geometry)
    flat = _phases(x, geometry, grid)
    gradients = _on_grid(dy, grid).reshape(_rows(geometry, geometry.out_channels, grid))
    runs = [(flat[tap.phase], tap.offset) for tap in grid.taps]
    taps = _products(gradients, runs, _rows(geometry, geometry.in_channels, grid))
    per_group = geometry.in_channels // geometry.groups
    shape = (geometry.out_channels, per_group, *geometry.kernel_size)
    return mx.stack(taps, axis=-1).reshape(shape)


def _by_group(matrix: mx.array, groups: int) -> mx.array:
    """(O, C/g) -> (g, O/g, C/g)."""
    return matrix.reshape(groups, -1, matrix.shape[-1])


_Runs = Sequence[tuple[mx.array, int]]  # a flat array, and where the run starts


def _accumulate(
    runs: _Runs, matrices: Sequence[mx.array], shape: tuple[int, ...]
) -> mx.array:
    """The sum of matrix @ run over all, each run read as `shape`, (N, g, C/g, S)."""
    total = None
    for (flat, start), matrix in zip(runs, matrices, strict=True):
        run = flat[start : start + math.prod(shape)].reshape(shape)
        total = matrix @ run if total is None else mx.addmm(total, matrix, run)
    assert total is not None
    return total


def _products(rows: mx.array, runs: _Runs, shape: tuple[int, ...]) -> list[mx.array]:
    """rows (N, g, O/g, S) times each run transposed, summed over N: (g, O/g, C/g)."""
    found = []
    for flat, start in runs:
        run = flat[start : start + math.prod(shape)].reshape(shape)
        product = rows @ run.swapaxes(2, 3)
        found.append(product[0] if shape[0] == 1 else product.sum(axis=0))
    return found


def _rows(geometry: ConvGeometry, channels: int, grid: _Grid) -> tuple[int, ...]:
    g = geometry.groups
    return (geometry.batch, g, channels // g, grid.voxels)


def _at(weight: mx.array, tap: _Tap) -> mx.array:
    """(O, C/g)."""
    return weight[(slice(None), slice(None), *tap.place)]


def _phases(
    x: mx.array, geometry: ConvGeometry, grid: _Grid
) -> dict[tuple[int, ...], mx.array]:
    """The padded input at each residue of the stride, flat, with room for a run."""
    full = [n * step for n, step in zip(grid.size, geometry.stride, strict=True)]
    sides = [
        (before, length - before - size)
        for (before, _), length, size in zip(
            geometry.padding, full, geometry.input_size, strict=True
        )
    ]
    padded = mx.pad(x, [(0, 0), (0, 0), *sides])
    sd, sh, sw = geometry.stride
    return {
        (d, h, w): mx.pad(padded[:, :, d::sd, h::sh, w::sw].flatten(), (0, grid.reach))
        for d, h, w in itertools.product(range(sd), range(sh), range(sw))
    }


def _on_grid(dy: mx.array, grid: _Grid) -> mx.array:
    sides = [(0, n - o) for n, o in zip(grid.size, dy.shape[2:], strict=True)]
    return mx.pad(dy, [(0, 0), (0, 0), *sides])


def _interleave(phases: list[mx.array], stride: Triple) -> mx.array:
    """(N, C, G..) for each residue -> (N, C, G * stride..)."""
    if len(phases) == 1:
        return phases[0]
    n, c, *size = phases[0].shape
    whole = mx.stack(phases).reshape(*stride, n, c, *size)
    whole = whole.transpose(3, 4, 5, 0, 6, 1, 7, 2)  # (N, C, GD, SD, GH, SH, GW, SW)
    return whole.reshape(n, c, *(g * s for g, s in zip(size, stride, strict=True)))


def _inside(padded: mx.array, geometry: ConvGeometry) -> mx.array:
    """Without the padding."""
    window = (
        slice(before, before + size)
        for (before, _), size in zip(geometry.padding, geometry.input_size, strict=True)
    )
    return padded[(slice(None), slice(None), *window)]


GRID = Formulation(forward, input_gradient, weight_gradient)
