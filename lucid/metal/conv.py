"""Convolution by Metal kernels: any groups and padding mode, channels-last inside.

Here x is (N, D, H, W, C), dy and y (N, OD, OH, OW, O), and the weight as everywhere
(O, C/groups, KD, KH, KW).
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from lucid.geometry import PADDING_MODES, ConvGeometry
from lucid.layout import channels_first, channels_last, contiguous
from lucid.metal import launch
from lucid.metal.conv_plan import (
    forward_plan,
    input_gradient_plan,
    weight_gradient_plan,
    weight_gradient_splits,
)
from lucid.metal.guard import Guarded, guarded
from lucid.metal.smaller import (
    smaller_forwards,
    smaller_input_gradients,
    smaller_weight_gradients,
)
from lucid.ops import conv
from lucid.ops.conv import Formulation
from lucid.ops.conv_plain import COLUMNS
import mlx.core as mx

# From this many elements on, an offset within an array takes 64 bits.
LARGE = 2**31


def forward_twin(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """The same as `forward_kernel`, made of MLX operations."""
    y = conv.conv3d(COLUMNS, channels_first(x), weight, bias, geometry)
    return channels_last(y)


TWIN = Formulation.of(
    "twins of Lucid's Metal kernels",
    forward_twin,
    temporaries=COLUMNS.temporaries,
    channels_last=True,
    every_mode=True,
    takes_half=True,
)


@guarded(twin=forward_twin, smaller=smaller_forwards)
def forward_kernel(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """The convolution with its padding folded into the reads: no padded copy."""
    n, o = geometry.batch, geometry.out_channels
    od, oh, ow = geometry.output_size
    plan = forward_plan(geometry, x.itemsize)
    w = _in_order(weight)
    return launch.launch(
        "conv_forward",
        inputs={
            "x": x,
            "w": w,
            "b": w if bias is None else bias,  # any array stands in for none
            **_sizes(geometry, *geometry.output_size),
        },
        template={
            **_constants(x, geometry, geometry.input_shape[1:]),
            **plan.tile,
            **plan.chunk,
            "BIASED": bias is not None,
        },
        threads=(-(-ow // plan.strip) * o // plan.vec, oh, n * od),
        shape=(n, od, oh, ow, o),
        dtype=x.dtype,
    )


@guarded(twin=TWIN.input_gradient, smaller=smaller_input_gradients)
def input_gradient_kernel(
    dy: mx.array, weight: mx.array, geometry: ConvGeometry
) -> mx.array:
    """The gradient of the input, gathered over its copies in the padding."""
    n, c = geometry.batch, geometry.in_channels
    d, h, w = geometry.input_size
    plan = input_gradient_plan(geometry, dy.itemsize)
    # From the last multiple of the stride up to the first voxel, to the last voxel.
    strips = -(-(geometry.padding[2][0] % geometry.stride[2] + w) // plan.strip)
    return launch.launch(
        "conv_input_gradient",
        inputs={
            "dy": dy,
            "w": _in_order(weight),
            **_sizes(geometry, d, h, w, c),
        },
        template={
            **_constants(dy, geometry, geometry.output_shape[1:]),
            **plan.tile,
            "SHARED": plan.shared,
        },
        threads=(strips * c // plan.vec, h, n * d),
        shape=(n, d, h, w, c),
        dtype=dy.dtype,
    )


@guarded(twin=TWIN.weight_gradient, smaller=smaller_weight_gradients)
def weight_gradient_kernel(
    x: mx.array, dy: mx.array, geometry: ConvGeometry
) -> mx.array:
    """The gradient of the weight, in float32 parts whose number the sizes decide."""
    plan = weight_gradient_plan(geometry)
    splits = weight_gradient_splits(geometry, x.itemsize)
    kd, kh, kw = geometry.kernel_size
    per_group = geometry.in_channels // geometry.groups
    shape = (splits.count, kd, kh, kw, per_group, geometry.out_channels)
    parts = launch.launch(
        "conv_weight_gradient",
        inputs={
            "x": x,
            "dy": dy,
            **_sizes(geometry, kd, kh, per_group, splits.rows),
        },
        template={
            **_constants(x, geometry, x.shape, dy.shape),
            **plan.tile,
            **plan.chunk,
        },
        threads=splits.threads,
        shape=shape,
        dtype=mx.float32,
    )
    return parts.sum(axis=0).transpose(4, 3, 0, 1, 2).astype(x.dtype)


# Of the weight's axes: (KD, KH, KW, C/g, O).
WEIGHT_ORDER = (2, 3, 4, 1, 0)


def _in_order(weight: mx.array) -> mx.array:
    """The weight as kernels read it: a copy only where it was not brought in order."""
    return contiguous(weight.transpose(WEIGHT_ORDER))


METAL = Formulation(
    "Lucid's Metal kernels",
    forward_kernel,
    input_gradient_kernel,
    weight_gradient_kernel,
    temporaries="a copy of the weight (forward, input gradient), partial sums (weight "
    "gradient)",
    channels_last=True,
    every_mode=True,
    takes_half=True,
    weight_order=WEIGHT_ORDER,
)


def known_fault(which: str, geometry: ConvGeometry, dtype: mx.Dtype) -> str | None:
    """What a check found wrong with the kernel of a pass, if it failed on this GPU."""
    (n, c, *size), (_, o, *outputs) = geometry.input_shape, geometry.output_shape
    x, dy = mx.zeros((n, *size, c), dtype), mx.zeros((n, *outputs, o), dtype)
    w, b = mx.zeros(geometry.weight_shape, dtype), mx.zeros(o, dtype)
    calls: dict[str, list[tuple[Guarded, tuple[Any, ...]]]] = {
        "forward": [(forward_kernel, (x, w, bias, geometry)) for bias in (None, b)],
        "input gradient": [(input_gradient_kernel, (dy, w, geometry))],
        "weight gradient": [(weight_gradient_kernel, (x, dy, geometry))],
    }
    faults = [kernel.known_fault(arguments) for kernel, arguments in calls[which]]
    return next(filter(None, faults), None)


def _constants(
    array: mx.array, geometry: ConvGeometry, *shapes: Sequence[int]
) -> dict[str, int | mx.Dtype]:
    """What every convolution kernel is compiled for.

    `shapes` are those within which it counts elements, beside the weight's.
    """
    elements = max(map(math.prod, (geometry.weight_shape, *shapes)))
    return {
        "T": array.dtype,
        "MODE": PADDING_MODES.index(geometry.padding_mode),
        "KW": geometry.kernel_size[2],
        "SW": geometry.stride[2],
        "DW": geometry.dilation[2],
        "LARGE": elements >= LARGE,
    }


def _sizes(geometry: ConvGeometry, *size: int) -> dict[str, mx.array]:
    """What a kernel is told when it runs."""
    return {
        "size": launch.integers(*size),
        "stride": launch.integers(*geometry.stride),
        "before": launch.integers(*(before for before, _ in geometry.padding)),
        "dilation": launch.integers(*geometry.dilation),
    }
