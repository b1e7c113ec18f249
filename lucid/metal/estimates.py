"""How long a pass of a convolution takes on an Apple GPU: arithmetic, no measurement.

Times are in multiply-adds at the peak of the chip, so that they hold for all chips.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from lucid.geometry import ConvGeometry
from lucid.metal.conv_plan import (
    forward_plan,
    input_gradient_plan,
    weight_gradient_plan,
    weight_gradient_splits,
)
from lucid.ops.conv_mlx import matrix_channels, taps_are_runs

# What MLX's matrix products and its convolutions reach of the peak, at best: as much as
# is said of large ones. Its convolution, ported to another program, reached 0.26 on an
# M1 Pro. On an M5 products run on other units, faster: measure there.
PRODUCT_SHARE, CONVOLUTION_SHARE = 0.8, 2 / 3
# Multiply-adds in the time that memory takes for a byte: 13 (M1 Pro and Max) to 19 (M1)
# at the peaks of both, of which memory reaches four fifths.
BYTE = 20


class Estimate(NamedTuple):
    """A time, that of the products alone, and where they come from in words."""

    time: float
    products: float
    words: str


def of_lucid(which: str, geometry: ConvGeometry, itemsize: int) -> Estimate:
    """A pass ("forward", "input gradient", "weight gradient") by Lucid's kernels."""
    moved = itemsize * _elements(geometry)
    if which == "forward":
        plan = forward_plan(geometry, itemsize)
    elif which == "input gradient":
        plan = input_gradient_plan(geometry, itemsize)
    else:
        plan = weight_gradient_plan(geometry)
        moved = lucid_weight_gradient_bytes(geometry, itemsize)
    share = plan.share_of_peak(itemsize)
    by_loads, by_memory = _products(geometry) / share, moved * BYTE
    if by_memory > by_loads:
        words = f"{_megabytes(moved)}, as fast as memory is"
        return Estimate(by_memory, by_loads, words)
    return Estimate(by_loads, by_loads, f"{share:.2f} of the peak by its loads")


def of_mlx(which: str, geometry: ConvGeometry, itemsize: int) -> Estimate:
    """The same by `lucid.ops.conv_mlx`, group by group."""
    g = geometry.groups
    c, o = geometry.in_channels // g, geometry.out_channels // g
    products = _products(geometry)
    if which == "weight gradient":
        moved = mlx_weight_gradient_bytes(geometry, itemsize)
        words = f"{_megabytes(moved)} for a matrix product of each tap"
        by_products = products / PRODUCT_SHARE
        return Estimate(max(by_products, moved * BYTE), by_products, words)
    taken, made = (c, o) if which == "forward" else (o, c)
    wide_taken, wide_made = matrix_channels(taken, made)
    times = wide_taken * wide_made / (taken * made)
    words = f"{CONVOLUTION_SHARE:.2f} of the peak"
    if times > 1:
        words += f" for {times:.3g} times the products"
        words += f" ({wide_taken} -> {wide_made} channels, not {taken} -> {made})"
    moved = itemsize * _elements(geometry)
    copied = 2 * moved if g > 1 else 0  # each group is sliced, and what it gives joined
    if geometry.padding_mode != "zeros" and geometry.is_padded:  # beforehand
        padded = geometry.without_padding.input_shape
        copied += itemsize * (math.prod(geometry.input_shape) + math.prod(padded))
    if which == "input gradient" and geometry.stride != (1, 1, 1):
        copied += 2 * itemsize * math.prod(geometry.input_shape)  # phases interleaved
    if copied:
        words += f", {_megabytes(copied)} of copies"
    by_products = products * times / CONVOLUTION_SHARE
    time = max(by_products, moved * BYTE) + copied * BYTE
    return Estimate(time, by_products, words)


def lucid_weight_gradient_bytes(geometry: ConvGeometry, itemsize: int) -> int:
    """Both arrays once, as caches serve all taps but one; parts, written and read."""
    splits = weight_gradient_splits(geometry, itemsize).count
    parts = 4 * splits * math.prod(geometry.weight_shape)
    return itemsize * _elements(geometry) + 2 * parts


def mlx_weight_gradient_bytes(geometry: ConvGeometry, itemsize: int) -> int:
    """What a matrix product for each tap reads of both arrays, and all copies.

    Slices of groups are copied; x is padded, and dy put on the grid of the padded x; if
    the taps are no runs of it, the voxels of each are copied instead. At the end the
    taps' products are stacked.
    """
    kernel = math.prod(geometry.kernel_size)
    padded = geometry.batch * geometry.in_channels * math.prod(geometry.padded_size)
    outputs = math.prod(geometry.output_shape)
    moved = 3 * math.prod(geometry.weight_shape)
    moved += 2 * _elements(geometry) if geometry.groups > 1 else 0
    if geometry.is_padded:
        moved += math.prod(geometry.input_shape) + padded
    if taps_are_runs(geometry):
        grid = padded * geometry.out_channels // geometry.in_channels
        moved += outputs + grid if grid > outputs else 0
        return itemsize * (moved + kernel * (padded + grid))
    voxels = outputs * geometry.in_channels // geometry.out_channels
    return itemsize * (moved + kernel * (3 * voxels + outputs))


def _elements(geometry: ConvGeometry) -> int:
    """Of x and dy."""
    return math.prod(geometry.input_shape) + math.prod(geometry.output_shape)


def _products(geometry: ConvGeometry) -> int:
    return math.prod(geometry.output_shape) * math.prod(geometry.weight_shape[1:])


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e7 else f"{count / 1e6:.2g} MB"
