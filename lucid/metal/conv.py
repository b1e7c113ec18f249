"""Convolution by Metal kernels: any groups and padding mode, channels-last inside.

Here x is (N, D, H, W, C), dy and y (N, OD, OH, OW, O), and the weight as everywhere
(O, C/groups, KD, KH, KW).
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from lucid.geometry import PADDING_MODES, ConvGeometry
from lucid.metal import launch
from lucid.metal.guard import guarded
from lucid.metal.smaller import (
    smaller_forwards,
    smaller_input_gradients,
    smaller_weight_gradients,
)
from lucid.ops import conv
from lucid.ops.conv import Formulation
from lucid.ops.conv_plain import COLUMNS
import mlx.core as mx

# Positions along W whose values a thread holds in registers while it goes over the
# taps that share them, at most: 16 vectors are 64 of a thread's numbers.
HELD = 16
# Outputs along W that a thread computes: 3x3x3 then loads 6 vectors where 12 products
# need them. Twice as many would halve the threads and save a sixth of the loads.
STRIP = 4
# Threads wanted for a weight gradient: a few times what the largest GPUs keep resident.
THREADS_WANTED = 2**16


def forward_twin(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """The same as `forward_kernel`, made of MLX operations."""
    x = x.transpose(0, 4, 1, 2, 3)
    return conv.conv3d(COLUMNS, x, weight, bias, geometry).transpose(0, 2, 3, 4, 1)


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
    tile = _output_tile(geometry)
    chunk = _chunk(geometry)
    return launch.launch(
        "conv_forward",
        inputs={
            "x": x,
            "w": weight.transpose(2, 3, 4, 1, 0),  # (KD, KH, KW, C/g, O)
            "b": mx.zeros(o, x.dtype) if bias is None else bias,
            **_sizes(geometry, *geometry.output_size),
        },
        template={**_constants(x, geometry), **tile, **chunk, "TW": STRIP},
        threads=(-(-ow // STRIP) * o // tile["VEC"], oh, n * od),
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
    sw, dw, kw = _along_w(geometry)
    # A shared strip starts at a multiple of the stride among the padded positions.
    width = sw * max(1, STRIP // sw)
    shared = max(width, (width - 1) // sw + (kw - 1) * dw // sw + 1) <= HELD
    width = width if shared else STRIP
    before = geometry.padding[2][0]
    strips = (before + w - 1) // width - before // width + 1
    tile = _input_tile(geometry)
    return launch.launch(
        "conv_input_gradient",
        inputs={
            "dy": dy,
            "w": weight.transpose(2, 3, 4, 0, 1),  # (KD, KH, KW, O, C/g)
            **_sizes(geometry, d, h, w, c),
        },
        template={
            **_constants(dy, geometry),
            **tile,
            "TW": width,
            "SHARED": shared,
        },
        threads=(strips * c // tile["VEC"], h, n * d),
        shape=(n, d, h, w, c),
        dtype=dy.dtype,
    )


@guarded(twin=TWIN.weight_gradient, smaller=smaller_weight_gradients)
def weight_gradient_kernel(
    x: mx.array, dy: mx.array, geometry: ConvGeometry
) -> mx.array:
    """The gradient of the weight, in float32 parts whose number the sizes decide."""
    work = weight_gradient_work(geometry, x.itemsize)
    kd, kh, kw = geometry.kernel_size
    per_group = geometry.in_channels // geometry.groups
    shape = (work.splits, kd, kh, kw, per_group, geometry.out_channels)
    parts = launch.launch(
        "conv_weight_gradient",
        inputs={
            "x": x,
            "dy": dy,
            **_sizes(geometry, kd, kh, per_group, work.rows_a_split),
        },
        template={
            **_constants(x, geometry),
            **work.tile,
            **_chunk(geometry),
            "TW": STRIP,
        },
        threads=work.threads,
        shape=shape,
        dtype=mx.float32,
    )
    return parts.sum(axis=0).transpose(4, 3, 0, 1, 2).astype(x.dtype)


@dataclass(frozen=True)
class WeightGradientWork:
    """How the rows of outputs are shared out among threads."""

    tile: dict[str, int]
    taps: int  # along W, of one thread
    rows_a_split: int
    splits: int
    threads: tuple[int, int, int]


def weight_gradient_work(geometry: ConvGeometry, itemsize: int) -> WeightGradientWork:
    """Enough splits to fill a GPU, while their parts stay smaller than the arrays."""
    tile = _output_tile(geometry)
    if (
        geometry.kernel_size[2] > 3
    ):  # four channels of more taps would not fit in the registers
        tile = {**tile, "LANES": 1}
    taps = _chunk(geometry)["KB"]
    per_group = geometry.in_channels // geometry.groups
    kernel = math.prod(geometry.kernel_size)
    lanes = geometry.out_channels // tile["VEC"] * per_group // tile["LANES"]
    rows = geometry.batch * math.prod(geometry.output_size[:2])
    part = 4 * geometry.out_channels * per_group * kernel
    arrays = itemsize * (
        geometry.batch * geometry.in_channels * math.prod(geometry.input_size)
        + math.prod(geometry.output_shape)
    )
    wanted = min(-(-THREADS_WANTED * taps // (lanes * kernel)), arrays // part, rows)
    rows_a_split = -(-rows // max(wanted, 1))
    splits = -(-rows // rows_a_split)
    return WeightGradientWork(
        tile, taps, rows_a_split, splits, (lanes, kernel // taps, splits)
    )


METAL = Formulation(
    "Lucid's Metal kernels",
    forward_kernel,
    input_gradient_kernel,
    weight_gradient_kernel,
    temporaries="a copy of the weight, and partial sums of its gradient",
    channels_last=True,
    every_mode=True,
    takes_half=True,
)


def _constants(array: mx.array, geometry: ConvGeometry) -> dict[str, int | mx.Dtype]:
    """What every convolution kernel is compiled for."""
    return {
        "T": array.dtype,
        "MODE": PADDING_MODES.index(geometry.padding_mode),
        "KW": geometry.kernel_size[2],
        "SW": geometry.stride[2],
        "DW": geometry.dilation[2],
    }


def _sizes(geometry: ConvGeometry, *size: int) -> dict[str, mx.array]:
    """What a kernel is told when it runs."""
    return {
        "size": launch.integers(*size),
        "stride": launch.integers(*geometry.stride),
        "before": launch.integers(*(before for before, _ in geometry.padding)),
        "dilation": launch.integers(*geometry.dilation),
    }


def _output_tile(geometry: ConvGeometry) -> dict[str, int]:
    """Channels of a thread that computes outputs from a group's inputs."""
    g = geometry.groups
    return _tile(geometry.out_channels // g, geometry.in_channels // g, g)


def _input_tile(geometry: ConvGeometry) -> dict[str, int]:
    """Channels of a thread that computes inputs from a group's outputs."""
    g = geometry.groups
    return _tile(geometry.in_channels // g, geometry.out_channels // g, g)


def _tile(computed: int, contracted: int, groups: int) -> dict[str, int]:
    """Four channels at a time where their number divides by four.

    Depthwise, the four computed belong to four groups.
    """
    if computed == contracted == 1 and groups % 4 == 0:
        return {"VEC": 4, "LANES": 1, "DEPTHWISE": True}
    return {
        "VEC": 4 if computed % 4 == 0 else 1,
        "LANES": 4 if contracted % 4 == 0 else 1,
        "DEPTHWISE": False,
    }


def _along_w(geometry: ConvGeometry) -> tuple[int, int, int]:
    """Stride, dilation and kernel size along W."""
    return geometry.stride[2], geometry.dilation[2], geometry.kernel_size[2]


def _chunk(geometry: ConvGeometry) -> dict[str, int]:
    """Taps along W that a strip takes at once, and the step between their voxels.

    All of them if the voxels that the strip reads fit the registers, or one by one.
    """
    sw, dw, kw = _along_w(geometry)
    step = math.gcd(sw, dw)
    if kw > 1 and ((STRIP - 1) * sw + (kw - 1) * dw) // step < HELD:
        return {"KB": kw, "STEP": step}
    return {"KB": 1, "STEP": sw}
