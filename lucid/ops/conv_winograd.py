"""Winograd's F(4, 3) along the depth: 6 products where the kernel's 3 taps take 12.

Four output planes of a convolution with 3 taps are A^T [(G w) * (B^T x)] of six input
planes x (Lavin and Gray, 2016, section 4.3; interpolation points 0, 1, -1, 2, -2).
Height and width are taps on a flat grid, as in `lucid.ops.conv_grid`. One axis alone is
transformed: the error stays within that of the direct sum, where two axes would leave
it. An infinity or NaN may reach every plane of its tiles, not those of its taps alone.

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

_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


class _Tiles(NamedTuple):
    """A volume's planes in tiles of four, each on a grid of rows and columns."""

    depth: int  # tiles along it
    height: int
    width: int
    taps: list[int]  # offsets of the kernel's rows and columns, in voxels


def _tiles(outputs: Triple, kernel: tuple[int, ...]) -> _Tiles:
    d, h, w = outputs
    height, width = h + kernel[1] - 1, w + kernel[2] - 1
    taps = [
        i * width + j for i, j in itertools.product(range(kernel[1]), range(kernel[2]))
    ]
    return _Tiles(-(-d // 4), height, width, taps)


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
    tiles = _tiles(geometry.output_size, geometry.kernel_size)
    before = [side[0] for side in geometry.padding]
    found = []
    for rows, gradients in zip(
        _transform_inputs(x, before, tiles),
        _transform_gradients(dy, tiles),
        strict=True,
    ):
        count = gradients.shape[0]
        taps = [gradients.T @ rows[tap : tap + count] for tap in tiles.taps]
        found.append(mx.stack(taps, axis=-1))  # (O, C, KH * KW)
    dw = mx.array(_G).T @ mx.stack(found).reshape(6, -1)
    o, c = geometry.out_channels, geometry.in_channels
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
    tiles = _tiles(outputs, tuple(kernel))
    matrices = mx.array(_G) @ weight.transpose(2, 3, 4, 1, 0).reshape(3, -1)
    matrices = matrices.reshape(6, -1, c, o)  # (6, KH * KW, C, O)
    sums = [
        _accumulate(rows, taps, tiles)
        for rows, taps in zip(
            _transform_inputs(x, before, tiles), matrices, strict=True
        )
    ]
    if bias is not None:
        # Every output plane is the second sum and others: the bias goes there once.
        sums[1] = sums[1] + bias
    d, h, w = outputs
    size = (-1, tiles.depth, tiles.height, tiles.width, o)
    planes = [p.reshape(size)[:, :, :h, :w] for p in _transform_outputs(sums)]
    y = mx.stack(planes, axis=2).flatten(1, 2)[:, :d]  # (N, OD, OH, OW, O)
    return y.transpose(0, 4, 1, 2, 3)


def _accumulate(rows: mx.array, matrices: mx.array, tiles: _Tiles) -> mx.array:
    """The sum over the taps of the rows from each on, times the tap's matrix."""
    count = rows.shape[0] - tiles.taps[-1]
    total = rows[:count] @ matrices[0]
    for i, tap in enumerate(tiles.taps[1:], start=1):
        total = mx.addmm(total, rows[tap : tap + count], matrices[i])
    return total


def _transform_inputs(
    x: mx.array, before: Sequence[int], tiles: _Tiles
) -> list[mx.array]:
    """B^T x: six arrays of a row for each voxel of each tile, and for the last tap."""
    full = (4 * tiles.depth + 2, tiles.height, tiles.width)
    sides = [(b, f - b - s) for b, f, s in zip(before, full, x.shape[2:], strict=True)]
    padded = mx.pad(x.transpose(0, 2, 3, 4, 1), [(0, 0), *sides, (0, 0)])
    q = [padded[:, i : i + 4 * tiles.depth - 3 : 4] for i in range(6)]
    even, odd = q[4] - 4 * q[2], q[3] - 4 * q[1]
    near, far = q[4] - q[2], 2 * (q[3] - q[1])
    planes = [
        4 * q[0] - 5 * q[2] + q[4],
        even + odd,
        even - odd,
        near + far,
        near - far,
        4 * q[1] - 5 * q[3] + q[5],
    ]
    return [
        mx.pad(plane.reshape(-1, x.shape[1]), [(0, tiles.taps[-1]), (0, 0)])
        for plane in planes
    ]


def _transform_outputs(m: list[mx.array]) -> list[mx.array]:
    """A^T m: planes 0, 1, 2 and 3 of every tile."""
    ones, signs = m[1] + m[2], m[1] - m[2]
    twos, twice = m[3] + m[4], m[3] - m[4]
    return [
        m[0] + ones + twos,
        signs + 2 * twice,
        ones + 4 * twos,
        signs + 8 * twice + m[5],
    ]


def _transform_gradients(dy: mx.array, tiles: _Tiles) -> list[mx.array]:
    """A dy: six arrays of a row for each voxel of each tile."""
    full = (4 * tiles.depth, tiles.height, tiles.width)
    sides = [(0, f - s) for f, s in zip(full, dy.shape[2:], strict=True)]
    padded = mx.pad(dy.transpose(0, 2, 3, 4, 1), [(0, 0), *sides, (0, 0)])
    q = [padded[:, i::4] for i in range(4)]
    even, odd = q[0] + q[2], q[1] + q[3]
    far, near = q[0] + 4 * q[2], 2 * q[1] + 8 * q[3]
    planes = [q[0], even + odd, even - odd, far + near, far - near, q[3]]
    return [plane.reshape(-1, dy.shape[1]) for plane in planes]


WINOGRAD = Formulation(
    "Winograd",
    forward,
    input_gradient,
    weight_gradient,
    temporaries="the input and the output, transformed: 3/2 of each",
    fits=_fits,
)
