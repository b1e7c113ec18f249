"""Small problems for which a convolution or padding launches what a large one does."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import itertools
import math
from typing import Any

from lucid.geometry import ConvGeometry, Padding, Triple
from lucid.metal.guard import draw
import mlx.core as mx

# Outputs along D, H and W, at most: borders and an inside, and a strip of any width
# that is full and one that is not.
_OUTPUTS = (3, 3, 11)
# What a whole problem may take in products, where no smaller one launches the same.
_PRODUCTS = 2**26


def smaller_forwards(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> Iterator[tuple[Any, ...]]:
    for g in smaller_convolutions(geometry):
        b = None if bias is None else draw((g.out_channels,), bias.dtype, 2)
        yield _input(g, x.dtype), _weight(g, weight.dtype), b, g


def smaller_input_gradients(
    dy: mx.array, weight: mx.array, geometry: ConvGeometry
) -> Iterator[tuple[Any, ...]]:
    for g in smaller_convolutions(geometry):
        yield _output(g, dy.dtype), _weight(g, weight.dtype), g


def smaller_weight_gradients(
    x: mx.array, dy: mx.array, geometry: ConvGeometry
) -> Iterator[tuple[Any, ...]]:
    for g in smaller_convolutions(geometry):
        yield _input(g, x.dtype), _output(g, dy.dtype), g


def smaller_pads(x: mx.array, sides: Padding, mode: str) -> Iterator[tuple[Any, ...]]:
    for n, size, c in _smaller_volumes(x.shape, sides, mode):
        yield draw((n, *size, c), x.dtype), sides, mode


def smaller_pad_adjoints(
    dy: mx.array, sides: Padding, mode: str
) -> Iterator[tuple[Any, ...]]:
    sums = [sum(side) for side in sides]
    n, *padded, c = dy.shape
    size = [s - total for s, total in zip(padded, sums, strict=True)]
    for batch, few, channels in _smaller_volumes((n, *size, c), sides, mode):
        shape = [s + total for s, total in zip(few, sums, strict=True)]
        yield draw((batch, *shape, channels), dy.dtype), sides, mode


def smaller_convolutions(geometry: ConvGeometry) -> Iterator[ConvGeometry]:
    """Fewer voxels, then more channels: the first has the fewest of both."""
    g, seen = geometry, set()
    volumes = [
        tuple(_fewer_voxels(g, axis) for axis in range(3)),
        (*(_fewer_voxels(g, axis) for axis in (0, 1)), g.input_size[2]),
    ]
    channels = [_fewer_channels(g), (g.in_channels, g.out_channels, g.groups)]
    for (c, o, groups), size in itertools.product(channels, volumes):
        smaller = dataclasses.replace(
            g,
            batch=min(g.batch, 2),
            in_channels=c,
            out_channels=o,
            groups=groups,
            input_size=size,
        )
        if smaller not in seen:
            seen.add(smaller)
            yield smaller
    products = math.prod(g.output_shape) * math.prod(g.weight_shape[1:])
    if products <= _PRODUCTS and g not in seen:
        yield g


def fewer(number: int) -> int:
    """Of channels: few, with the same remainder by eight."""
    return number if number < 16 else 8 + number % 8


def _fewer_channels(geometry: ConvGeometry) -> tuple[int, int, int]:
    """Of the input, of the output, and groups."""
    groups = geometry.groups
    c, o = geometry.in_channels // groups, geometry.out_channels // groups
    groups = fewer(groups) if c == o == 1 else min(groups, 2)
    return fewer(c) * groups, fewer(o) * groups, groups


def _fewer_voxels(geometry: ConvGeometry, axis: int) -> int:
    """Of an axis of the input; a stride may leave one over."""
    g, sides = geometry, geometry.padding[axis]
    outputs = (_OUTPUTS[axis] - 1) * g.stride[axis] + g.span[axis]
    least = _least(sides, g.padding_mode)
    return min(g.input_size[axis], max(outputs - sum(sides) + 1, least))


def _least(sides: tuple[int, int], mode: str) -> int:
    """Voxels that an axis needs for its padding."""
    return max(sides) + 1 if mode in ("reflect", "circular") else 1


def _smaller_volumes(
    shape: tuple[int, ...], sides: Padding, mode: str
) -> Iterator[tuple[int, Triple, int]]:
    n, *size, c = shape
    d, h, w = (
        min(s, _least(side, mode) + 2) for s, side in zip(size, sides, strict=True)
    )
    yield min(n, 2), (d, h, w), fewer(c)
    yield min(n, 8), (d, h, w), fewer(c)
    yield min(n, 8), (d, h, w), c


def _input(geometry: ConvGeometry, dtype: mx.Dtype) -> mx.array:
    shape = (geometry.batch, *geometry.input_size, geometry.in_channels)
    return draw(shape, dtype, 0)


def _output(geometry: ConvGeometry, dtype: mx.Dtype) -> mx.array:
    shape = (geometry.batch, *geometry.output_size, geometry.out_channels)
    return draw(shape, dtype, 1)


def _weight(geometry: ConvGeometry, dtype: mx.Dtype) -> mx.array:
    return draw(geometry.weight_shape, dtype, 2)
