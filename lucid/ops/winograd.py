"""Winograd's F(4, 3) along the depth: 6 products where the kernel's 3 taps take 12.

Four output planes of a 3-tap correlation are A^T [(G w) * (B^T x)] of six input planes
x (Lavin and Gray, 2016, section 4.3; interpolation points 0, 1, -1, 2, -2). Height and
width are taps on a flat grid, as in `lucid.ops.grid`. One axis alone is transformed:
the error stays within that of the direct sum, where two axes would leave it.

Arrays are channels-first and float32, padding is with zeros, stride and dilation are
one along the depth and one elsewhere, the kernel is three deep.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from lucid.geometry import ConvGeometry
from lucid.ops.bilinear import Formulation
from lucid.ops.grid import accumulate, by_group, products
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
    """A volume's planes in tiles of four, on a grid of rows and columns."""

    depth: int  # tiles along it
    height: int
    width: int
    taps: list[int]  # offsets of the kernel's rows and columns

    @property
    def voxels(self) -> int:
        return self.depth * self.height * self.width


def _tiles(outputs: tuple[int, ...], kernel: tuple[int, ...]) -> _Tiles:
    d, h, w = outputs
    height, width = h + kernel[1] - 1, w + kernel[2] - 1
    taps = [
        i * width + j for i, j in itertools.product(range(kernel[1]), range(kernel[2]))
    ]
    return _Tiles(-(-d // 4), height, width, taps)


def forward(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """The convolution."""
    before = [side[0] for side in geometry.padding]
    return _correlate(x, weight, bias, before, geometry.output_size, geometry.groups)


def input_gradient(dy: mx.array, weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """The correlation of dy with the kernel turned around."""
    g = geometry.groups
    o, per_group, *kernel = weight.shape
    turned = weight[:, :, ::-1, ::-1, ::-1].reshape(g, o // g, per_group, *kernel)
    turned = turned.swapaxes(1, 2).reshape(g * per_group, o // g, *kernel)
    before = [k - 1 - side[0] for k, side in zip(kernel, geometry.padding, strict=True)]
    return _correlate(dy, turned, None, before, geometry.input_size, g)


def weight_gradient(x: mx.array, dy: mx.array, geometry: ConvGeometry) -> mx.array:
    """G^T [sum of (A dy) * (B^T x)], tap by tap of rows and columns."""
    tiles = _tiles(geometry.output_size, geometry.kernel_size)
    g, n = geometry.groups, geometry.batch
    c, o = geometry.in_channels, geometry.out_channels
    before = [side[0] for side in geometry.padding]
    inputs = _transform_inputs(x, before, tiles)
    outputs = _transform_gradients(dy, tiles)
    shape = (n, g, c // g, tiles.voxels)
    found = []
    for planes, gradients in zip(inputs, outputs, strict=True):
        rows = gradients.reshape(n, g, o // g, tiles.voxels)
        taps = products(rows, [(planes, offset) for offset in tiles.taps], shape)
        found.append(mx.stack(taps, axis=-1))  # (g, O/g, C/g, KH * KW)
    transformed = mx.stack(found)
    dw = mx.array(_G).T @ transformed.reshape(6, -1)
    dw = dw.reshape(3, o, c // g, *geometry.kernel_size[1:])
    return dw.transpose(1, 2, 0, 3, 4)


def _correlate(
    x: mx.array,
    weight: mx.array,
    bias: mx.array | None,
    before: list[int],
    outputs: tuple[int, int, int],
    groups: int,
) -> mx.array:
    """Outputs of x, which begins `before` voxels after the first tap of the first."""
    n, c = x.shape[:2]
    o, per_group, *kernel = weight.shape
    tiles = _tiles(outputs, tuple(kernel))
    # (6, KH * KW, O, C/g)
    matrices = (mx.array(_G) @ weight.transpose(2, 3, 4, 0, 1).reshape(3, -1)).reshape(
        6, -1, o, per_group
    )
    shape = (n, groups, c // groups, tiles.voxels)
    sums = []
    for planes, kernels in zip(
        _transform_inputs(x, before, tiles), matrices, strict=True
    ):
        runs = [(planes, offset) for offset in tiles.taps]
        sums.append(accumulate(runs, [by_group(k, groups) for k in kernels], shape))
    d, h, w = outputs
    size = (n, o, tiles.depth, tiles.height, tiles.width)
    if bias is not None:
        # Every output plane is the second sum and others: the bias goes there once.
        sums[1] = sums[1] + bias.reshape(groups, -1, 1)
    planes = [p.reshape(size)[..., :h, :w] for p in _transform_outputs(sums)]
    y = mx.stack(planes, axis=3).reshape(n, o, 4 * tiles.depth, h, w)
    return y[:, :, :d]


def _transform_inputs(x: mx.array, before: list[int], tiles: _Tiles) -> list[mx.array]:
    """B^T x: six flat arrays of (N, C, tile, H, W), with room for the last tap."""
    n, c, *size = x.shape
    depth = 4 * tiles.depth + 2
    full = (depth, tiles.height, tiles.width)
    sides = [(b, f - b - s) for b, f, s in zip(before, full, size, strict=True)]
    # A channel more than there are leaves room for the last run.
    padded = mx.pad(x.reshape(n * c, *size), [(0, 1), *sides])
    padded = padded.reshape(n * c + 1, depth, -1)
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
    return [plane.flatten() for plane in planes]


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
    """A dy: six arrays (N * O, tile, H * W)."""
    n, o, d, h, w = dy.shape
    full = (4 * tiles.depth, tiles.height, tiles.width)
    sides = [(0, f - s) for f, s in zip(full, (d, h, w), strict=True)]
    padded = mx.pad(dy.reshape(n * o, d, h, w), [(0, 0), *sides])
    q = [padded.reshape(n * o, full[0], -1)[:, i::4] for i in range(4)]
    even, odd = q[0] + q[2], q[1] + q[3]
    far, near = q[0] + 4 * q[2], 2 * q[1] + 8 * q[3]
    return [q[0], even + odd, even - odd, far + near, far - near, q[3]]


WINOGRAD = Formulation(forward, input_gradient, weight_gradient)
