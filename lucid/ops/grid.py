"""Convolution on a flat grid, where a kernel tap is an offset and nothing is gathered.

The input, taken at one residue of the stride along each axis (its phases), and the
outputs lie on a grid of one size; flattened, the voxels that a tap meets are a run that
starts at the tap's offset. The zeros after a row, a plane and a volume are those before
the next as well. Positions of the grid that are no output compute garbage, which is cut
off; gradients of outputs have zeros there.

The taps along the width are stacked for one matrix product, those along depth and
height are accumulated: a product reads KW times the input, all in place.

Arrays are channels-first and float32, padding is with zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import functools
import itertools
import math
from typing import NamedTuple

from lucid.geometry import ConvGeometry, Triple
from lucid.ops.bilinear import Formulation
import mlx.core as mx


class Tap(NamedTuple):
    """One place of the kernel along one axis."""

    place: int
    phase: int  # the residue of the stride that it reads
    offset: int  # grid positions from an output to the voxel that it reads


Taps = tuple[list[Tap], list[Tap], list[Tap]]


class Grid(NamedTuple):
    size: Triple
    phase_size: Triple  # the voxels of a phase: they come first on each axis
    ends: tuple[tuple[int, int], ...]  # zeros around the input that fill its phases
    taps: Taps

    @property
    def positions(self) -> int:
        return math.prod(self.size)

    def offset(self, taps: Sequence[Tap]) -> int:
        """Of a tap on the flat grid: one along depth, one along height ..."""
        steps = (self.size[1] * self.size[2], self.size[2], 1)
        return sum(t.offset * step for t, step in zip(taps, steps, strict=False))


@functools.lru_cache(maxsize=1024)
def grid_of(geometry: ConvGeometry) -> Grid:
    size, phase_size, ends, taps = [], [], [], []
    for n, (before, _), outputs, k, stride, dilation in zip(
        geometry.input_size,
        geometry.padding,
        geometry.output_size,
        geometry.kernel_size,
        geometry.stride,
        geometry.dilation,
        strict=True,
    ):
        # The phases begin at the last multiple of the stride within the padding.
        skipped, lead = divmod(before, stride)
        length = (lead + n - 1) // stride + 1
        ends.append((lead, length * stride - lead - n))
        taps.append(
            [
                Tap(i, i * dilation % stride, i * dilation // stride - skipped)
                for i in range(k)
            ]
        )
        beyond = outputs + taps[-1][-1].offset - length
        size.append(max(length + max(skipped, beyond), outputs))
        phase_size.append(length)
    return Grid(tuple(size), tuple(phase_size), tuple(ends), tuple(taps))


def forward(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """The sum over the taps of the weight times the run of voxels that they meet."""
    grid = grid_of(geometry)
    flat = {phase: _flat(part, grid) for phase, part in _phases(x, geometry).items()}
    blocks = _blocks(flat, grid.taps, grid, geometry, geometry.in_channels)
    y = _accumulate(blocks, _by_group(weight, geometry))
    d, h, w = geometry.output_size
    y = y.reshape(geometry.batch, -1, *grid.size)[:, :, :d, :h, :w]
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)


def input_gradient(dy: mx.array, weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """The same the other way, for each phase; phases are interleaved."""
    grid = grid_of(geometry)
    flat = {(0, 0, 0): _flat(dy, grid)}
    weight = _by_group(weight, geometry).swapaxes(1, 2)
    phases = []
    for phase in itertools.product(*map(range, geometry.stride)):
        d, h, w = (
            [Tap(tap.place, 0, -tap.offset) for tap in taps if tap.phase == part]
            for taps, part in zip(grid.taps, phase, strict=True)
        )
        if d and h and w:
            blocks = _blocks(flat, (d, h, w), grid, geometry, geometry.out_channels)
            phases.append(_accumulate(blocks, weight))
        else:
            phases.append(None)
    return from_phases(phases, geometry)


def weight_gradient(x: mx.array, dy: mx.array, geometry: ConvGeometry) -> mx.array:
    """For each tap the run of voxels times the output gradients that met them."""
    grid = grid_of(geometry)
    flat = {phase: _flat(part, grid) for phase, part in _phases(x, geometry).items()}
    gradients = rows(on_grid(dy, grid), geometry).swapaxes(2, 3)
    found = []  # (g, taps, C/g, O/g)
    for taps, block in _blocks(flat, grid.taps, grid, geometry, geometry.in_channels):
        product = (block @ gradients).sum(axis=0)
        g, _, o = product.shape
        found.append(product.reshape(g, len(taps), -1, o))
    dw = mx.concatenate(found, axis=1)  # (g, K, C/g, O/g)
    dw = dw.transpose(0, 3, 2, 1)
    return dw.reshape(geometry.out_channels, -1, *geometry.kernel_size)


def _blocks(
    flat: dict[tuple[int, ...], mx.array],
    taps: Taps,
    grid: Grid,
    geometry: ConvGeometry,
    channels: int,
) -> Iterator[tuple[list[tuple[Tap, ...]], mx.array]]:
    """Some taps at a time, and what they meet: (N, g, taps * channels / g, positions).

    All of it views: of the source, or of one stack of its runs for each phase of depth
    and height.
    """
    n, g = geometry.batch, geometry.groups
    per_group, positions = channels // g, grid.positions
    length, volumes = per_group * positions, n * g
    axes = 2 if _is_stacked(geometry) and len(taps[2]) > 1 else 3
    heads = list(itertools.product(*taps[:axes]))
    tails = list(itertools.product(*taps[axes:]))
    starts = [grid.offset(head) for head in heads]
    lowest, room = min(starts), max(starts) - min(starts)
    stacks: dict[tuple[int, ...], mx.array] = {}
    for head, start in zip(heads, starts, strict=True):
        phase = tuple(tap.phase for tap in head)
        if axes == 3:
            source, at = flat[phase], positions + start
        else:
            if phase not in stacks:
                runs = [
                    (flat[(*phase, tap.phase)], positions + lowest + tap.offset)
                    for (tap,) in tails
                ]
                stacks[phase] = _stack(runs, volumes, length, room)
            source, at = stacks[phase], start - lowest
        block = source[at : at + volumes * len(tails) * length]
        block = block.reshape(n, g, len(tails) * per_group, positions)
        yield [head + tail for tail in tails], block


def _is_stacked(geometry: ConvGeometry) -> bool:
    """Depthwise products are too small: a stack costs more than it saves them."""
    return geometry.in_channels * geometry.out_channels > 4 * geometry.groups**2


def _stack(
    runs: Sequence[tuple[mx.array, int]], volumes: int, length: int, room: int
) -> mx.array:
    """For each volume its part of each run: (volumes, runs, length), flat."""
    parts = [
        source[start + i * length : start + (i + 1) * length]
        for i in range(volumes)
        for source, start in runs
    ]
    return mx.concatenate([*parts, mx.zeros(room)])


def _accumulate(
    blocks: Iterator[tuple[list[tuple[Tap, ...]], mx.array]], weight: mx.array
) -> mx.array:
    """The sum of (g, O/g, taps * C/g) @ block; the weight is (g, O/g, C/g, K..)."""
    total = None
    for taps, block in blocks:
        places = [tuple(tap.place for tap in axes) for axes in taps]
        parts = [weight[(slice(None),) * 3 + place] for place in places]
        matrix = parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=2)
        total = matrix @ block if total is None else mx.addmm(total, matrix, block)
    assert total is not None
    return total


def _by_group(weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """(O, C/g, K..) -> (g, O/g, C/g, K..)."""
    return weight.reshape(geometry.groups, -1, *weight.shape[1:])


def rows(array: mx.array, geometry: ConvGeometry) -> mx.array:
    """(N, C, ...) -> (N, g, C/g, voxels)."""
    n, c = array.shape[:2]
    g = geometry.groups
    return array.reshape(n, g, c // g, math.prod(array.shape[2:]))


def on_grid(array: mx.array, grid: Grid) -> mx.array:
    """(N, C, ...) -> (N, C, *grid.size), with zeros after."""
    ends = [(0, n - s) for n, s in zip(grid.size, array.shape[2:], strict=True)]
    return mx.pad(array, [(0, 0), (0, 0), *ends])


def _flat(array: mx.array, grid: Grid) -> mx.array:
    """(N, C, ...) -> the flat grids, with a channel of zeros before and after."""
    array = array.flatten(0, 1)
    ends = [(0, n - s) for n, s in zip(grid.size, array.shape[1:], strict=True)]
    return mx.pad(array, [(1, 1), *ends]).flatten()


def _phases(x: mx.array, geometry: ConvGeometry) -> dict[tuple[int, ...], mx.array]:
    """The input at each residue of the stride."""
    sd, sh, sw = geometry.stride
    if sd == sh == sw == 1:
        return {(0, 0, 0): x}
    whole = mx.pad(x, [(0, 0), (0, 0), *grid_of(geometry).ends])
    return {
        (d, h, w): whole[:, :, d::sd, h::sh, w::sw]
        for d, h, w in itertools.product(range(sd), range(sh), range(sw))
    }


def from_phases(phases: Sequence[mx.array | None], geometry: ConvGeometry) -> mx.array:
    """Grids of C channels for each residue, None for zeros -> (N, C, D, H, W)."""
    grid = grid_of(geometry)
    n, c = geometry.batch, geometry.in_channels
    d, h, w = grid.phase_size
    parts = [
        mx.zeros((n, c, d, h, w))
        if phase is None
        else phase.reshape(n, c, *grid.size)[:, :, :d, :h, :w]
        for phase in phases
    ]
    if len(parts) == 1:
        return parts[0]
    sd, sh, sw = geometry.stride
    whole = mx.stack(parts).reshape(sd, sh, sw, n, c, d, h, w)
    whole = whole.transpose(3, 4, 5, 0, 6, 1, 7, 2)  # (N, C, D, SD, H, SH, W, SW)
    whole = whole.reshape(n, c, d * sd, h * sh, w * sw)
    window = (
        slice(before, before + size)
        for (before, _), size in zip(grid.ends, geometry.input_size, strict=True)
    )
    return whole[(slice(None), slice(None), *window)]


GRID = Formulation(forward, input_gradient, weight_gradient)
