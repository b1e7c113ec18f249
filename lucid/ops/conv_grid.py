"""Convolution on a flat grid, where a tap of the kernel is an offset.

Input and outputs are laid on grids of one size, with zeros after each row, plane and
volume that stand for the padding on both sides. Flattened, the voxels that one tap
multiplies, for all outputs, are one run of the input: nothing is gathered. With a
stride, the input is first taken apart into its phases, the voxels at one residue of the
stride, each on a grid of its own.

Positions of the grid that are no output compute numbers of no use, which are cut off;
in the weight gradient they are multiplied by zero, so that an infinity beside the
volume's border makes a NaN there.

The taps along the width are stacked for one matrix product, those along depth and
height are accumulated: a product reads KW times the input.

Arrays are channels-first and float32, padding is with zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import functools
import itertools
import math
from typing import NamedTuple

from lucid._types import LONGEST
from lucid.geometry import ConvGeometry, Triple
from lucid.ops.conv import Formulation, rows, transposed
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


def grid_waste(geometry: ConvGeometry) -> float:
    """Positions of the grid for each output."""
    return grid_of(geometry).positions / math.prod(geometry.output_size)


def _fits(geometry: ConvGeometry) -> bool:
    """Whether the grid is no longer than MLX can index."""
    channels = max(geometry.in_channels, geometry.out_channels)
    volumes = geometry.batch * channels * geometry.kernel_size[2] + 3
    return geometry.batch > 0 and volumes * grid_of(geometry).positions <= LONGEST


def forward(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """The sum over the taps of the weight times the run that the tap reads."""
    grid = grid_of(geometry)
    y = _sum_over_taps(
        _phases(x, geometry), grid.taps, _by_group(weight, geometry), geometry
    )
    d, h, w = geometry.output_size
    y = y.reshape(geometry.batch, -1, *grid.size)[:, :, :d, :h, :w]
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)


def input_gradient(dy: mx.array, weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """The same sum over dy for each phase of the input, and the phases interleaved."""
    grid = grid_of(geometry)
    flat = {(0, 0, 0): _flat(dy, grid)}
    weight = _by_group(weight, geometry).swapaxes(1, 2)
    phases = []
    for phase in itertools.product(*map(range, geometry.stride)):
        d, h, w = (
            [Tap(tap.place, 0, -tap.offset) for tap in taps if tap.phase == part]
            for taps, part in zip(grid.taps, phase, strict=True)
        )
        has_taps = d and h and w
        phases.append(
            _sum_over_taps(flat, (d, h, w), weight, geometry) if has_taps else None
        )
    return from_phases(phases, geometry)


def weight_gradient(x: mx.array, dy: mx.array, geometry: ConvGeometry) -> mx.array:
    """For each tap, the run that it reads times the gradients of the outputs."""
    grid = grid_of(geometry)
    gradients = transposed(rows(on_grid(dy, grid), geometry))
    blocks = _blocks(_phases(x, geometry), grid.taps, geometry.in_channels, geometry)
    products = [(block @ gradients).sum(axis=0) for block in blocks]
    o, c = (n // geometry.groups for n in (geometry.out_channels, geometry.in_channels))
    dw = mx.stack(products, axis=1).reshape(geometry.groups, -1, c, o)  # (g, K, ...)
    shape = (geometry.out_channels, c, *geometry.kernel_size)
    return dw.transpose(0, 3, 2, 1).reshape(shape)


_Flat = dict[tuple[int, ...], mx.array]  # the flat grids of each phase


def _sum_over_taps(
    flat: _Flat, taps: Taps, weight: mx.array, geometry: ConvGeometry
) -> mx.array:
    """The sum over the taps of the tap's weight times its run.

    The weight is (g, O/g, C/g, KD, KH, KW), the sum (N, g, O/g, positions).
    """
    channels = geometry.groups * weight.shape[2]
    total = None
    for matrix, block in zip(
        _matrices(weight, taps, geometry),
        _blocks(flat, taps, channels, geometry),
        strict=True,
    ):
        total = matrix @ block if total is None else mx.addmm(total, matrix, block)
    assert total is not None
    return total


def _blocks(
    flat: _Flat, taps: Taps, channels: int, geometry: ConvGeometry
) -> Iterator[mx.array]:
    """The runs of some taps at a time: (N, g, taps * channels / g, positions).

    Each is a view: of a flat grid, for a single tap; or, for all taps along the width,
    of one stack of their runs, read from the offset of the other two axes on.
    """
    grid = grid_of(geometry)
    n, g, positions = geometry.batch, geometry.groups, grid.positions
    length, volumes = channels // g * positions, n * g
    axes = _accumulated_axes(taps, geometry)
    heads = list(itertools.product(*taps[:axes]))
    starts = [grid.offset(head) for head in heads]
    lowest, room = min(starts), max(starts) - min(starts)
    stacks: _Flat = {}
    for head, start in zip(heads, starts, strict=True):
        phase = tuple(tap.phase for tap in head)
        if axes == 3:
            source, at, runs = flat[phase], positions + start, 1
        else:
            if phase not in stacks:
                ends = [
                    (flat[(*phase, tap.phase)], positions + lowest + tap.offset)
                    for tap in taps[2]
                ]
                stacks[phase] = _stack(ends, volumes, length, room)
            source, at, runs = stacks[phase], start - lowest, len(taps[2])
        block = source[at : at + volumes * runs * length]
        yield block.reshape(n, g, -1, positions)


def _matrices(weight: mx.array, taps: Taps, geometry: ConvGeometry) -> mx.array:
    """The weight of the taps of each block: (blocks, g, O/g, taps * C/g)."""
    weight = weight[(slice(None),) * 3 + tuple(map(_window, taps))]
    axes = _accumulated_axes(taps, geometry)
    kernel = (3, 4, 5)
    weight = weight.transpose(*kernel[:axes], 0, 1, *kernel[axes:], 2)
    return weight.reshape(
        -1, *weight.shape[axes : axes + 2], math.prod(weight.shape[axes + 2 :])
    )


def _window(taps: list[Tap]) -> slice:
    """Where taps are along one axis of the kernel: those of a phase, evenly spaced."""
    first, last = taps[0].place, taps[-1].place
    return slice(first, last + 1, (last - first) // max(len(taps) - 1, 1) or 1)


def _accumulated_axes(taps: Taps, geometry: ConvGeometry) -> int:
    """How many kernel axes are accumulated over: two, or all three without a stack.

    Depthwise, the products are so small that a stack costs more than it saves.
    """
    c, o = geometry.in_channels, geometry.out_channels
    small = c * o <= 4 * geometry.groups**2
    return 3 if small or len(taps[2]) == 1 else 2


def _stack(
    runs: Sequence[tuple[mx.array, int]], volumes: int, length: int, room: int
) -> mx.array:
    """Each volume's part of each run, flat: (volumes, runs, length).

    `room` zeros follow, so that it can be read from up to `room` positions on.
    """
    parts = [
        source[start + i * length : start + (i + 1) * length]
        for i in range(volumes)
        for source, start in runs
    ]
    return mx.concatenate([*parts, mx.zeros(room)])


def _by_group(weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """(O, C/g, K..) -> (g, O/g, C/g, K..)."""
    return weight.reshape(geometry.groups, -1, *weight.shape[1:])


def on_grid(array: mx.array, grid: Grid) -> mx.array:
    """(N, C, ...) -> (N, C, *grid.size), with zeros after."""
    ends = [(0, n - s) for n, s in zip(grid.size, array.shape[2:], strict=True)]
    return mx.pad(array, [(0, 0), (0, 0), *ends])


def _flat(array: mx.array, grid: Grid) -> mx.array:
    """(N, C, ...) -> the flat grids, with a channel of zeros before and after."""
    array = array.flatten(0, 1)
    ends = [(0, n - s) for n, s in zip(grid.size, array.shape[1:], strict=True)]
    return mx.pad(array, [(1, 1), *ends]).flatten()


def _phases(x: mx.array, geometry: ConvGeometry) -> _Flat:
    """The flat grids of the input at each residue of the stride."""
    grid, (sd, sh, sw) = grid_of(geometry), geometry.stride
    if sd == sh == sw == 1:
        return {(0, 0, 0): _flat(x, grid)}
    whole = mx.pad(x, [(0, 0), (0, 0), *grid.ends])
    return {
        (d, h, w): _flat(whole[:, :, d::sd, h::sh, w::sw], grid)
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


GRID = Formulation(
    "flat grid",
    forward,
    input_gradient,
    weight_gradient,
    temporaries="the input on its grid, once for each tap along the width",
    fits=_fits,
)
