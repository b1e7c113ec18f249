"""Small problems for which a convolution or padding launches what a large one does."""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import math
from typing import Any

from lucid.geometry import ConvGeometry, Padding
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
    for shape, few in _smaller_pads(x.shape, sides, mode):
        yield draw(shape, x.dtype), few, mode


def smaller_pad_adjoints(
    dy: mx.array, sides: Padding, mode: str
) -> Iterator[tuple[Any, ...]]:
    n, *padded, c = dy.shape
    size = [s - sum(side) for s, side in zip(padded, sides, strict=True)]
    for shape, few in _smaller_pads((n, *size, c), sides, mode):
        batch, *inside, channels = shape
        outside = [s + sum(side) for s, side in zip(inside, few, strict=True)]
        yield draw((batch, *outside, channels), dy.dtype), few, mode


def smaller_convolutions(geometry: ConvGeometry) -> Iterator[ConvGeometry]:
    """Fewer voxels and channels; then with other numbers on each axis; then more."""
    g = geometry
    for c, o, groups in (
        _fewer_channels(g),
        (g.in_channels, g.out_channels, g.groups),
    ):
        few = dataclasses.replace(
            g, batch=min(g.batch, 2), in_channels=c, out_channels=o, groups=groups
        )
        d, h, w = (_fewer_voxels(g, axis) for axis in range(3))
        yield dataclasses.replace(few, input_size=(d, h, w))
        yield _uneven(few)
        yield dataclasses.replace(few, input_size=(d, h, g.input_size[2]))
    products = math.prod(g.output_shape) * math.prod(g.weight_shape[1:])
    if products <= _PRODUCTS:
        yield g


def _uneven(geometry: ConvGeometry) -> ConvGeometry:
    """Other sizes, strides, dilations and paddings, but for what is along W."""
    g, (before, after) = geometry, geometry.padding[2]
    uneven = dataclasses.replace(
        g,
        kernel_size=(2, 3, g.kernel_size[2]),
        stride=(2, 1, g.stride[2]),
        dilation=(1, 2, g.dilation[2]),
        padding=((0, 1), (2, 1), (before + 1, after)),
        input_size=(9, 9, 999),
    )
    return dataclasses.replace(uneven, input_size=(5, 4, _fewer_voxels(uneven, axis=2)))


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


def _smaller_pads(
    shape: tuple[int, ...], sides: Padding, mode: str
) -> Iterator[tuple[tuple[int, ...], Padding]]:
    n, *size, c = shape
    d, h, w = (
        min(s, _least(side, mode) + 2) for s, side in zip(size, sides, strict=True)
    )
    yield (min(n, 2), d, h, w, fewer(c)), sides
    yield (min(n, 2), 4, 3, 5, fewer(c)), ((1, 2), (0, 1), (2, 0))
    yield (min(n, 8), d, h, w, fewer(c)), sides
    yield (min(n, 8), d, h, w, c), sides


def _input(geometry: ConvGeometry, dtype: mx.Dtype) -> mx.array:
    shape = (geometry.batch, *geometry.input_size, geometry.in_channels)
    return draw(shape, dtype, 0)


def _output(geometry: ConvGeometry, dtype: mx.Dtype) -> mx.array:
    shape = (geometry.batch, *geometry.output_size, geometry.out_channels)
    return draw(shape, dtype, 1)


def _weight(geometry: ConvGeometry, dtype: mx.Dtype) -> mx.array:
    return draw(geometry.weight_shape, dtype, 2)
