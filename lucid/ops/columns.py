"""Convolution by columns: for each output, the voxels that it reads.

Each of the three functions is then one matrix product. The gradient of the input makes
the gradient of the columns, and sums them where voxels lie, on a flat grid: a tap's are
a run, as in `ops.grid`. Columns take K times the input: they are made for a part of the
volumes or of the depth at a time, of COLUMNS_BYTES at most, if a plane allows; their
gradient has the grid's border more.

Arrays are channels-first and float32, padding is with zeros, and less than the span of
the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

from lucid.geometry import ConvGeometry
from lucid.ops.bilinear import Formulation
from lucid.ops.composed import COLUMNS_BYTES
from lucid.ops.grid import from_phases, grid_of, on_grid, rows, transposed
from lucid.ops.padding import pad
import mlx.core as mx


class _Slab(NamedTuple):
    """A convolution of some volumes to some planes of the output."""

    inputs: tuple[slice, slice, slice]  # of (N, C, D, ...)
    outputs: tuple[slice, slice, slice]
    geometry: ConvGeometry


def forward(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """The weight times the columns."""
    matrix = _matrix(weight, geometry)

    def outputs(slab: _Slab) -> mx.array:
        y = matrix @ _columns(x[slab.inputs], slab.geometry)
        return y.reshape(slab.geometry.output_shape)

    volumes = [_joined(map(outputs, slabs), axis=2) for slabs in _slabs(geometry)]
    y = _joined(volumes, axis=0)
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)


def weight_gradient(x: mx.array, dy: mx.array, geometry: ConvGeometry) -> mx.array:
    """The columns times the gradients of their outputs."""
    total = None
    for slab in itertools.chain.from_iterable(_slabs(geometry)):
        gradients = transposed(rows(dy[slab.outputs], geometry))
        product = _columns(x[slab.inputs], slab.geometry) @ gradients
        product = product.sum(axis=0)  # (g, C/g * K, O/g)
        total = product if total is None else total + product
    assert total is not None
    shape = (geometry.out_channels, -1, *geometry.kernel_size)
    return total.swapaxes(1, 2).reshape(shape)


def input_gradient(dy: mx.array, weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """The weight transposed times dy, and every tap's share where its voxels lie."""
    matrix = _matrix(weight, geometry).swapaxes(1, 2)

    def voxels(slab: _Slab) -> tuple[int, mx.array]:
        dx = _scatter(dy[slab.outputs], matrix, slab.geometry)
        return slab.inputs[2].start, dx

    depth = geometry.input_size[0]
    volumes = [
        _overlapped(list(map(voxels, slabs)), depth) for slabs in _slabs(geometry)
    ]
    return _joined(volumes, axis=0)


def _matrix(weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """(O, C/g, K..) -> (g, O/g, C/g * K)."""
    return weight.reshape(geometry.groups, -1, math.prod(weight.shape[1:]))


def _columns(x: mx.array, geometry: ConvGeometry) -> mx.array:
    """(N, g, C/g * K, outputs)."""
    padded = pad(x, geometry.padding, "zeros")
    axes = [
        [
            slice(k * dilation, k * dilation + (outputs - 1) * stride + 1, stride)
            for k in range(taps)
        ]
        for taps, dilation, outputs, stride in zip(
            geometry.kernel_size,
            geometry.dilation,
            geometry.output_size,
            geometry.stride,
            strict=True,
        )
    ]
    slices = [padded[:, :, d, h, w] for d, h, w in itertools.product(*axes)]
    return rows(mx.stack(slices, axis=2).flatten(1, 2), geometry)


def _scatter(dy: mx.array, matrix: mx.array, geometry: ConvGeometry) -> mx.array:
    """The gradient of the input, of (g, C/g * K, O/g) @ dy."""
    grid = grid_of(geometry)
    taps = list(itertools.product(*grid.taps))
    channels, positions = geometry.batch * geometry.in_channels, grid.positions
    columns = matrix @ rows(on_grid(dy, grid), geometry)
    # A channel's taps follow one another. Where a voxel of the input lies, what a run
    # takes from the row, the plane or the tap before is zero; elsewhere it is cut off.
    columns = columns.reshape(channels, len(taps) * positions)
    sums: dict[tuple[int, ...], mx.array] = {}
    for i, tap in enumerate(taps):
        start = i * positions - grid.offset(tap)
        run = columns[:, start : start + positions]
        phase = tuple(t.phase for t in tap)
        sums[phase] = sums[phase] + run if phase in sums else run
    residues = itertools.product(*map(range, geometry.stride))
    return from_phases([sums.get(phase) for phase in residues], geometry)


@functools.lru_cache(maxsize=1024)
def _slabs(geometry: ConvGeometry) -> list[list[_Slab]]:
    """Some volumes at a time, and of these some planes of the output."""
    plane = 4 * geometry.in_channels * math.prod(geometry.kernel_size)
    plane *= math.prod(geometry.output_size[1:])
    depth = geometry.output_size[0]
    planes = max(1, COLUMNS_BYTES // plane)
    return [
        [_slab(geometry, volumes, part) for part in _parts(depth, planes)]
        for volumes in _parts(geometry.batch, max(1, planes // depth))
    ]


def _parts(whole: int, most: int) -> Iterator[tuple[int, int]]:
    """`whole` in equal parts of at most `most`, or nearly."""
    count = -(-whole // most)
    bounds = [whole * i // count for i in range(count + 1)]
    return itertools.pairwise(bounds)


def _slab(
    geometry: ConvGeometry, volumes: tuple[int, int], planes: tuple[int, int]
) -> _Slab:
    start, stop = planes
    (before, _), depth = geometry.padding[0], geometry.input_size[0]
    first = start * geometry.stride[0] - before
    last = (stop - 1) * geometry.stride[0] - before + geometry.span[0]
    inputs = slice(max(first, 0), min(last, depth))
    part = dataclasses.replace(
        geometry,
        batch=volumes[1] - volumes[0],
        input_size=(inputs.stop - inputs.start, *geometry.input_size[1:]),
        padding=(
            (inputs.start - first, max(last - depth, 0)),
            *geometry.padding[1:],
        ),
    )
    return _Slab(
        (slice(*volumes), slice(None), inputs),
        (slice(*volumes), slice(None), slice(*planes)),
        part,
    )


def _joined(parts: Iterable[mx.array], axis: int) -> mx.array:
    parts = list(parts)
    return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=axis)


def _overlapped(parts: list[tuple[int, mx.array]], depth: int) -> mx.array:
    """The sum over `depth` planes of arrays that begin at a plane each, in order."""
    (start, rest), done = parts[0], []
    for following, part in parts[1:]:
        final = following - start
        rest = _lengthened(rest, final)
        done.append(rest[:, :, :final])
        rest, start = part + _lengthened(rest[:, :, final:], part.shape[2]), following
    return _joined([*done, _lengthened(rest, depth - start)], axis=2)


def _lengthened(array: mx.array, planes: int) -> mx.array:
    """With zeros after, if it has fewer planes."""
    missing = planes - array.shape[2]
    if missing <= 0:
        return array
    return mx.pad(array, [(0, 0), (0, 0), (0, missing), (0, 0), (0, 0)])


COLUMNS = Formulation(forward, input_gradient, weight_gradient)
