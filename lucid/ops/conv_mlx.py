"""MLX's conv3d, with gradients that copy no patches.

Arrays are channels-last, (N, D, H, W, C), padding is with zeros, groups are one; the
weight is (O, C, KD, KH, KW). MLX's own gradients would copy K patches of the input for
the weight gradient, and of the output gradient for a strided input gradient, most of
them zeros.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import itertools
import math
from typing import Any, NamedTuple

from lucid.geometry import ConvGeometry, Triple
from lucid.ops.conv import Formulation
import mlx.core as mx

Sides = list[tuple[int, int]]

# The most that MLX may hold for convolving planes: it keeps every depth tap's.
PLANE_BYTES = 2**30


def forward(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """One call of mx.conv3d; half types round once more for the bias."""
    sides = list(geometry.padding)
    if _convolves_planes(geometry, x.dtype):
        x, sides = _pad(x, [sides[0], (0, 0), (0, 0)]), [(0, 0), *sides[1:]]
    w = weight.transpose(0, 2, 3, 4, 1)
    y = _convolve(x, w, sides, geometry.stride, geometry.dilation)
    return y if bias is None else y + bias


def _convolves_planes(geometry: ConvGeometry, dtype: mx.Dtype) -> bool:
    """Whether MLX convolves plane by plane, if the depth is padded beforehand.

    For one volume without depth padding, MLX's Metal backend sums 2-D convolutions over
    the depth taps, and takes 3x3 ones of many channels by its own Winograd's F(6, 3): 5
    times fewer products. Its sums round to the dtype at every tap: not for half types.
    """
    c, o = geometry.in_channels, geometry.out_channels
    frames = geometry.output_size[0] * math.prod(geometry.input_size[1:])
    return (
        geometry.batch == geometry.groups == 1
        and dtype == mx.float32
        and 1 < geometry.kernel_size[0] <= 7
        and geometry.kernel_size[1:] == (3, 3)
        and geometry.stride == geometry.dilation == (1, 1, 1)
        and c % 32 == o % 32 == 0
        and c + o >= 256
        and frames >= 4096
        and _plane_bytes(geometry) <= PLANE_BYTES
    )


def matrix_channels(c: int, o: int) -> tuple[int, int]:
    """The channels that MLX's matrix kernels multiply for c -> o, zeros counted.

    They take 16 input channels at a time, and pad both to multiples of 16 if either
    does not fit; up to 16 outputs are multiplied 8 at a time.
    """
    wide_c, wide_o = _multiple(c, 16), _multiple(o, 16)
    return wide_c, _multiple(o, 8) if c == wide_c and o <= 16 else wide_o


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of


def _plane_bytes(geometry: ConvGeometry) -> int:
    """What MLX holds until the end: for each depth tap, planes and their transforms.

    F(6, 3) makes 64 numbers of every 36 of input and output; the input is padded too.
    """
    voxels = geometry.output_size[0] * math.prod(geometry.padded_size[1:])
    c, o = geometry.in_channels, geometry.out_channels
    planes = 4 * voxels * (c + o + (c + o) * 64 // 36)
    return geometry.kernel_size[0] * planes


def input_gradient(dy: mx.array, weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """A convolution of dy for each phase of the stride, interleaved.

    The voxels at one residue modulo the stride are read by the same taps: theirs is a
    convolution at stride 1 with a part of the kernel, of the forward's work in all.
    """
    w = weight.transpose(1, 2, 3, 4, 0)  # (C, KD, KH, KW, O)
    phases = itertools.product(*(_phases(geometry, axis) for axis in range(3)))
    parts = [_gradient_of_phase(dy, w, chosen) for chosen in phases]
    n, d, h, w_, c = parts[0].shape
    dx = parts[0]
    if len(parts) > 1:
        sd, sh, sw = geometry.stride
        dx = mx.stack(parts).reshape(sd, sh, sw, n, d, h, w_, c)
        dx = dx.transpose(3, 4, 0, 5, 1, 6, 2, 7)  # (N, MD, SD, MH, SH, MW, SW, C)
        dx = dx.reshape(n, d * sd, h * sh, w_ * sw, c)
    inside = [slice(None)]
    for size, (before, _), step in zip(
        geometry.input_size, geometry.padding, geometry.stride, strict=True
    ):
        # The phases begin at the last multiple of the stride within the padding.
        inside.append(slice(before % step, before % step + size))
    return dx[tuple(inside)]


class _Phase(NamedTuple):
    """The padded positions of one residue modulo the stride, along one axis."""

    taps: list[int]  # those that read them
    length: int
    sides: tuple[int, int]  # of dy, for a convolution that gives `length` voxels
    dilation: int


def _phases(geometry: ConvGeometry, axis: int) -> list[_Phase]:
    size, outputs = geometry.input_size[axis], geometry.output_size[axis]
    stride, dilation = geometry.stride[axis], geometry.dilation[axis]
    before, _ = geometry.padding[axis]
    start = before // stride
    length = (before + size - 1) // stride - start + 1
    phases = []
    for residue in range(stride):
        taps = [
            k
            for k in range(geometry.kernel_size[axis])
            if (k * dilation - residue) % stride == 0
        ]
        # Tap k reads position residue + stride * m for output m - offset of k.
        offsets = [(k * dilation - residue) // stride for k in taps] or [0]
        left = offsets[-1] - start
        right = length + offsets[-1] - offsets[0] - left - outputs
        step = dilation // math.gcd(dilation, stride)
        phases.append(_Phase(taps, length, (left, right), step))
    return phases


def _gradient_of_phase(
    dy: mx.array, weight: mx.array, phases: tuple[_Phase, ...]
) -> mx.array:
    """(N, MD, MH, MW, C) voxels of one phase on each axis."""
    if not all(phase.taps for phase in phases):
        lengths = [phase.length for phase in phases]
        return mx.zeros((dy.shape[0], *lengths, weight.shape[0]), dy.dtype)
    for axis, phase in enumerate(phases, start=1):
        weight = mx.take(weight, mx.array(phase.taps[::-1]), axis=axis)
    d, h, w = (phase.dilation for phase in phases)
    sides = [phase.sides for phase in phases]
    return _convolve(dy, weight, sides, (1, 1, 1), (d, h, w))


def weight_gradient(x: mx.array, dy: mx.array, geometry: ConvGeometry) -> mx.array:
    """A matrix product for each tap: dy transposed, times the voxels that it met."""
    padded = _pad(x, list(geometry.padding))
    if taps_are_runs(geometry):
        taps = _taps_of_runs(padded, dy, geometry)
    else:
        taps = _taps_of_slices(padded, dy, geometry)
    o, c = geometry.out_channels, geometry.in_channels
    return mx.stack(taps, axis=-1).reshape(o, c, *geometry.kernel_size)


def taps_are_runs(geometry: ConvGeometry) -> bool:
    """Whether a tap's voxels are a run of the padded volume, not much of it border."""
    padded, outputs = map(math.prod, (geometry.padded_size, geometry.output_size))
    return geometry.stride == (1, 1, 1) and padded <= 2 * outputs


def _taps_of_runs(
    padded: mx.array, dy: mx.array, geometry: ConvGeometry
) -> list[mx.array]:
    """At stride 1 a tap is an offset in the flat padded volume: nothing is copied.

    dy lies on the same grid, with zeros where no output is.
    """
    *grid, c = padded.shape[1:]
    ends = [(0, g - s) for g, s in zip(grid, geometry.output_size, strict=True)]
    rows, gradients = padded.reshape(-1, c), _pad(dy, ends).reshape(-1, dy.shape[-1])
    strides = (grid[1] * grid[2], grid[2], 1)
    taps = []
    for tap in itertools.product(*map(range, geometry.kernel_size)):
        offset = sum(
            k * d * s for k, d, s in zip(tap, geometry.dilation, strides, strict=True)
        )
        taps.append(gradients[: rows.shape[0] - offset].T @ rows[offset:])
    return taps


def _taps_of_slices(
    padded: mx.array, dy: mx.array, geometry: ConvGeometry
) -> list[mx.array]:
    """With a stride, a tap's voxels are copied: an output's worth at a time."""
    gradients = dy.reshape(-1, dy.shape[-1])
    taps = []
    for tap in itertools.product(*map(range, geometry.kernel_size)):
        d, h, w = (
            slice(k * t, k * t + (size - 1) * s + 1, s)
            for k, t, size, s in zip(
                tap,
                geometry.dilation,
                geometry.output_size,
                geometry.stride,
                strict=True,
            )
        )
        # After the last product: MLX would copy the voxels of many taps at once.
        source = mx.depends(padded, taps[-1]) if taps else padded
        voxels = source[:, d, h, w].reshape(-1, padded.shape[-1])
        taps.append(gradients.T @ voxels)
    return taps


def _convolve(
    x: mx.array, weight: mx.array, sides: Sides, stride: Triple, dilation: Triple
) -> mx.array:
    """mx.conv3d with any padding, negative to crop.

    Uneven sides are padded beforehand: taking one volume's planes, MLX's Metal backend
    looks at the first alone.
    """
    windows = (
        slice(max(-before, 0), size - max(-after, 0))
        for (before, after), size in zip(sides, x.shape[1:4], strict=True)
    )
    if any(min(side) < 0 for side in sides):
        x = x[(slice(None), *windows)]
        sides = [(max(before, 0), max(after, 0)) for before, after in sides]
    uneven = [(0, 0) if before == after else (before, after) for before, after in sides]
    d, h, w = (before if before == after else 0 for before, after in sides)
    sums_planes = x.shape[0] == stride[0] == dilation[0] == 1 < weight.shape[1]
    # One volume's planes, without depth padding, MLX would sum in half precision.
    spare = int(sums_planes and d == 0 and x.dtype != mx.float32)
    y = mx.conv3d(
        _pad(x, uneven),
        weight,
        stride=stride,
        padding=(d + spare, h, w),
        dilation=dilation,
    )
    return y[:, 1:-1] if spare else y


def _pad(x: mx.array, sides: Sides) -> mx.array:
    if not any(map(any, sides)):
        return x
    return mx.pad(x, [(0, 0), *sides, (0, 0)])


MLX = Formulation(
    "mx.conv3d",
    forward,
    input_gradient,
    weight_gradient,
    temporaries="the padded input; with a stride, the phases of its gradient",
    fits=lambda geometry: geometry.groups == 1 and geometry.batch > 0,
    channels_last=True,
    takes_half=True,
)


def _of_each_group(
    function: Callable[..., mx.array], axes: tuple[int, ...], joined: int
) -> Callable[..., mx.array]:
    """A function of one group, applied to each group in turn.

    `axes` are those along which its arrays hold the groups, `joined` the result's.
    """

    def apply(*arrays_and_geometry: Any) -> mx.array:
        *arrays, geometry = arrays_and_geometry
        g = geometry.groups
        one = dataclasses.replace(
            geometry,
            in_channels=geometry.in_channels // g,
            out_channels=geometry.out_channels // g,
            groups=1,
        )
        parts = [
            [None] * g if array is None else mx.split(array, g, axis=axis)
            for array, axis in zip(arrays, axes, strict=True)
        ]
        results = [function(*part, one) for part in zip(*parts, strict=True)]
        return mx.concatenate(results, axis=joined)

    return apply


MLX_BY_GROUP = dataclasses.replace(
    MLX,
    name="mx.conv3d by group",
    fits=lambda geometry: geometry.batch > 0,
    forward=_of_each_group(forward, axes=(-1, 0, 0), joined=-1),
    input_gradient=_of_each_group(input_gradient, axes=(-1, 0), joined=-1),
    weight_gradient=_of_each_group(weight_gradient, axes=(-1, -1), joined=0),
    temporaries="slices of the groups, and the output before it is joined",
)
