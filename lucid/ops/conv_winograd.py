"""Winograd's F(4, 3) along the depth: 6 products where the kernel's 3 taps take 12.

Four output planes of a convolution with 3 taps are A^T [(G w) * (B^T x)] of six input
planes x (Lavin and Gray, 2016, section 4.3; interpolation points 0, 1, -1, 2, -2).
The transforms are small matrix products, too: a BLAS makes them in one reading, on
every core. Height and width are taps: offsets in a plane of rows, as in
`lucid.ops.conv_grid`. One axis alone is transformed: the error stays within that of the
direct sum, where two axes would leave it. An infinity or NaN may reach every plane of
its tiles, not those of its taps alone.

Arrays are channels-first and float32; inside, voxels are rows and channels columns,
which is the faster way around for the BLAS. Padding is with zeros, stride, dilation and
groups are one, the kernel is three deep.

Large volumes are cut into slabs of a few tiles, which stay in cache from the transform
to the output. Two threads take them by turns, so that both compute what is no product.
"""

from __future__ import annotations

from collections.abc import Sequence
import functools
import itertools
from typing import NamedTuple

from lucid.geometry import ConvGeometry, Triple
from lucid.ops.bias import aligned
from lucid.ops.conv import Formulation
from lucid.ops.turns import by_turns
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

# Numbers in a slab of the input or the output, whichever has more channels. Measured:
# smaller ones are not worth their operations.
SLAB = 2**18


@functools.cache
def _matrix(rows: tuple[tuple[float, ...], ...]) -> mx.array:
    return mx.array(rows, mx.float32)


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
    before = [side[0] for side in geometry.padding]

    def products(slab: _Slab) -> mx.array:
        rows, taps = slab.tiles.rows, slab.tiles.taps
        inputs = _transform_inputs(x, slab)
        gradients = _transform_gradients(dy, slab).swapaxes(2, 3)  # its rows are last
        found = [
            (gradients @ inputs[:, :, tap : tap + rows]).sum(axis=0) for tap in taps
        ]  # (6, O, C) each
        return mx.stack(found, axis=-1)

    slabs = _slabs(geometry.output_size, before, geometry.weight_shape, len(x))
    total = functools.reduce(mx.add, by_turns(products, slabs))
    dw = _matrix(_G).T @ total.reshape(6, -1)
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
    o, c = weight.shape[:2]
    matrices = _matrix(_G) @ weight.transpose(2, 3, 4, 1, 0).reshape(3, -1)
    matrices = matrices.reshape(6, -1, c, o)  # (6, KH * KW, C, O)

    def convolve(slab: _Slab) -> mx.array:
        tiles = slab.tiles
        inputs = _transform_inputs(x, slab)
        sums = inputs[:, :, : tiles.rows] @ matrices[:, 0]
        for i, tap in enumerate(tiles.taps[1:], start=1):
            sums = mx.addmm(sums, inputs[:, :, tap : tap + tiles.rows], matrices[:, i])
        y = _matrix(_A).T @ sums.reshape(len(sums), 6, -1)
        y = y.reshape(-1, 4 * tiles.depth, tiles.height, tiles.width, o)
        y = y[:, : slab.depth, :, : outputs[2]]
        y = y.transpose(0, 4, 1, 2, 3)
        # Without a bias, too: adding copies faster than mx.contiguous does.
        return y + (0.0 if bias is None else aligned(bias, 1))

    slabs = _slabs(outputs, before, weight.shape, len(x))
    return mx.concatenate(by_turns(convolve, slabs), axis=2)


class _Slab(NamedTuple):
    """Planes of the outputs that are computed together, and what they are made of."""

    tiles: _Tiles
    writes: slice  # planes of y
    reads: slice  # planes of x
    before: Sequence[int]  # zeros before what it reads

    @property
    def depth(self) -> int:
        """How many planes of the outputs."""
        return self.writes.stop - self.writes.start


def _slabs(
    outputs: Triple, before: Sequence[int], weight: Sequence[int], batch: int
) -> list[_Slab]:
    """The outputs, cut between tiles into slabs of SLAB numbers or more."""
    o, c, *kernel = weight
    d, h, w = outputs
    tiles = -(-d // 4)
    count = max(1, min(tiles, batch * max(c, o) * d * h * w // SLAB))
    cuts = [min(4 * (tiles * i // count), d) for i in range(count + 1)]
    return [
        _Slab(
            _tiles((stop - start, h, w), kernel),
            writes=slice(start, stop),
            reads=slice(max(start - before[0], 0), stop - before[0] + 2),
            before=[max(before[0] - start, 0), *before[1:]],
        )
        for start, stop in itertools.pairwise(cuts)
    ]


def _transform_inputs(x: mx.array, slab: _Slab) -> mx.array:
    """B^T x: (N * tiles, 6, rows and what the last tap needs, C)."""
    n, c = x.shape[:2]
    tiles = slab.tiles
    height = tiles.height + -(-tiles.taps[-1] // tiles.width)  # the last tap's, too
    full = (4 * (tiles.depth + 1), height, tiles.width)
    padded = _padded(x[:, :, slab.reads], slab.before, full)
    planes = padded.reshape(n, tiles.depth + 1, 4, -1)
    from_next = _matrix(_B_NEXT) @ planes[:, 1:, :2]
    planes = mx.addmm(from_next, _matrix(_B_OWN), planes[:, :-1])
    return planes.reshape(-1, 6, height * tiles.width, c)


def _transform_gradients(dy: mx.array, slab: _Slab) -> mx.array:
    """A dy: (N * tiles, 6, rows, O)."""
    o, tiles = dy.shape[1], slab.tiles
    full = (4 * tiles.depth, tiles.height, tiles.width)
    padded = _padded(dy[:, :, slab.writes], (0, 0, 0), full)
    planes = _matrix(_A) @ padded.reshape(-1, 4, tiles.rows * o)
    return planes.reshape(-1, 6, tiles.rows, o)


def _padded(x: mx.array, before: Sequence[int], full: Sequence[int]) -> mx.array:
    """(N, *full, C), with zeros before and after x."""
    sides = [(b, f - b - s) for b, f, s in zip(before, full, x.shape[2:], strict=True)]
    return mx.pad(x.transpose(0, 2, 3, 4, 1), [(0, 0), *sides, (0, 0)])


WINOGRAD = Formulation(
    "Winograd",
    forward,
    input_gradient,
    weight_gradient,
    temporaries="some slabs of the input and the output, transformed: 3/2 of each",
    fits=_fits,
)
