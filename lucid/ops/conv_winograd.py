"""Winograd's F(4, 3) along the depth: 6 products where the kernel's 3 taps take 12.

Four output planes of a convolution with 3 taps are A^T [(G w) * (B^T x)] of six input
planes x (Lavin and Gray, 2016, section 4.3; interpolation points 0, 1, -1, 2, -2).
The transforms are small matrix products, too: a BLAS makes them in one reading, on
every core. Height and width are taps: offsets in a plane of rows, as in
`lucid.ops.conv_grid`. One axis alone is transformed: the error stays within that of the
direct sum, where two axes would leave it. An infinity or NaN may reach every plane of
its tiles, not those of its taps alone.

x and dy are channels-first and float32; inside, voxels are rows and channels columns,
which is the faster way around for the BLAS, and outputs are views of that. Padding is
with zeros, stride, dilation and groups are one, the kernel is three deep.
"""

from __future__ import annotations

from collections.abc import Sequence
import itertools
from typing import NamedTuple

from lucid.geometry import ConvGeometry, Triple
from lucid.ops.conv import Formulation
import mlx.core as mx

_A = (
    (1, 0, 0, 0),
    (1, 1, 1, 1),
    (1, -1, 1, -1),
    (1, 2, 4, 8),
    (1, -2, 4, -8),
    (0, 0, 0, 1),
)
_B_OWN = (  # the planes of a tile
    (4, 0, -5, 0),
    (0, -4, -4, 1),
    (0, 4, -4, -1),
    (0, -2, -1, 2),
    (0, 2, -1, -2),
    (0, 4, 0, -5),
)
_B_NEXT = ((1, 0), (1, 0), (1, 0), (1, 0), (1, 0), (0, 1))  # the next one's first two
_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


class _Tiles(NamedTuple):
    """A volume's planes in tiles of four, each a grid of rows and columns."""

    depth: int  # tiles along it
    height: int  # of the outputs
    width: int  # of the outputs and the last taps
    taps: list[int]  # offsets of the kernel's rows and columns, in voxels

    @property
    def rows(self) -> int:
        """The voxels of an output plane."""
        return self.height * self.width


def _tiles(outputs: Triple, kernel: Sequence[int]) -> _Tiles:
    d, h, w = outputs
    width = w + kernel[2] - 1
    taps = [
        i * width + j for i, j in itertools.product(range(kernel[1]), range(kernel[2]))
    ]
    return _Tiles(-(-d // 4), h, width, taps)


def wasted_planes(geometry: ConvGeometry) -> float:
    """Planes of the tiles that are no output, for each output plane."""
    depth = geometry.output_size[0]
    return -depth % 4 / depth


def _fits(geometry: ConvGeometry) -> bool:
    """Three taps deep, and no padding beyond the kernel's own reach."""
    sides = zip(geometry.kernel_size, geometry.padding, strict=True)
    return (
        geometry.kernel_size[0] == 3
        and geometry.stride == geometry.dilation == (1, 1, 1)
        and geometry.groups == 1
        and geometry.batch > 0
        and all(max(padding) < k for k, padding in sides)
    )


def forward(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """The convolution."""
    before = [side[0] for side in geometry.padding]
    return _convolve(x, weight, bias, before, geometry.output_size)


def input_gradient(dy: mx.array, weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """The correlation of dy with the kernel turned around."""
    turned = weight[:, :, ::-1, ::-1, ::-1].swapaxes(0, 1)
    before = [
        k - 1 - side[0]
        for k, side in zip(geometry.kernel_size, geometry.padding, strict=True)
    ]
    return _convolve(dy, turned, None, before, geometry.input_size)


def weight_gradient(x: mx.array, dy: mx.array, geometry: ConvGeometry) -> mx.array:
    """G^T [sum of (A dy) * (B^T x)], tap by tap of rows and columns."""
    o, c = geometry.out_channels, geometry.in_channels
    tiles = _tiles(geometry.output_size, geometry.kernel_size)
    before = [side[0] for side in geometry.padding]
    inputs = _transform_inputs(x, before, tiles)
    gradients = _transform_gradients(dy, tiles).swapaxes(2, 3)  # its rows are last
    found = [
        (gradients @ inputs[:, :, tap : tap + tiles.rows]).sum(axis=0)
        for tap in tiles.taps
    ]  # (6, O, C) each
    dw = mx.array(_G).T @ mx.stack(found, axis=-1).reshape(6, -1)
    dw = dw.reshape(3, o, c, *geometry.kernel_size[1:])
    return dw.transpose(1, 2, 0, 3, 4)


def _convolve(
    x: mx.array,
    weight: mx.array,
    bias: mx.array | None,
    before: Sequence[int],
    outputs: Triple,
) -> mx.array:
    """Outputs of x, which begins `before` voxels after the first tap of the first."""
    o, c, *kernel = weight.shape
    tiles = _tiles(outputs, kernel)
    inputs = _transform_inputs(x, before, tiles)
    matrices = mx.array(_G) @ weight.transpose(2, 3, 4, 1, 0).reshape(3, -1)
    matrices = matrices.reshape(6, -1, c, o)  # (6, KH * KW, C, O)
    sums = inputs[:, :, : tiles.rows] @ matrices[:, 0]
    for i, tap in enumerate(tiles.taps[1:], start=1):
        sums = mx.addmm(sums, inputs[:, :, tap : tap + tiles.rows], matrices[:, i])
    y = mx.array(_A).T @ sums.reshape(len(sums), 6, -1)
    d, _, w = outputs
    y = y.reshape(-1, 4 * tiles.depth, tiles.height, tiles.width, o)[:, :d, :, :w]
    # Without a bias, too: adding copies faster than mx.contiguous does.
    y = y + (0.0 if bias is None else bias)
    return y.transpose(0, 4, 1, 2, 3)


def _transform_inputs(x: mx.array, before: Sequence[int], tiles: _Tiles) -> mx.array:
    """B^T x: (N * tiles, 6, rows and what the last tap needs, C)."""
    n, c = x.shape[:2]
    height = tiles.height + -(-tiles.taps[-1] // tiles.width)  # the last tap's, too
    full = (4 * (tiles.depth + 1), height, tiles.width)
    sides = [(b, f - b - s) for b, f, s in zip(before, full, x.shape[2:], strict=True)]
    padded = mx.pad(x.transpose(0, 2, 3, 4, 1), [(0, 0), *sides, (0, 0)])
    planes = padded.reshape(n, tiles.depth + 1, 4, -1)
    from_next = mx.array(_B_NEXT) @ planes[:, 1:, :2]
    planes = mx.addmm(from_next, mx.array(_B_OWN), planes[:, :-1])
    return planes.reshape(-1, 6, height * tiles.width, c)


def _transform_gradients(dy: mx.array, tiles: _Tiles) -> mx.array:
    """A dy: (N * tiles, 6, rows, O)."""
    full = (4 * tiles.depth, tiles.height, tiles.width)
    sides = [(0, f - s) for f, s in zip(full, dy.shape[2:], strict=True)]
    padded = mx.pad(dy.transpose(0, 2, 3, 4, 1), [(0, 0), *sides, (0, 0)])
    planes = mx.array(_A) @ padded.reshape(-1, 4, tiles.rows * dy.shape[1])
    return planes.reshape(-1, 6, tiles.rows, dy.shape[1])


WINOGRAD = Formulation(
    "Winograd",
    forward,
    input_gradient,
    weight_gradient,
    temporaries="the input and the output, transformed: 3/2 of each",
    fits=_fits,
)
