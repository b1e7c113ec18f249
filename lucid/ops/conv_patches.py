"""Convolution whose kernel fits into its stride: each voxel is read once at most.

A kernel of one voxel, or of the stride's size: the volume is cut into patches without
overlap, and one matrix product does the rest. Its input gradient, a transposed
convolution, is the product the other way and the patches put back in place.
"""

from __future__ import annotations

import dataclasses
import math

from lucid.geometry import ConvGeometry
from lucid.ops.bias import add_bias
from lucid.ops.conv import Formulation, rows
from lucid.ops.conv_fold import Fold
import mlx.core as mx


def _fits(geometry: ConvGeometry) -> bool:
    """Whether patches do not overlap, are not padded and are mostly input."""
    apart = not geometry.is_padded and all(
        k == 1 or (k <= s and d == 1)
        for k, s, d in zip(
            geometry.kernel_size, geometry.stride, geometry.dilation, strict=True
        )
    )
    # The last step may reach far beyond the input, if the stride is long.
    steps = math.prod(geometry.output_size) * math.prod(geometry.stride)
    return apart and steps <= 8 * math.prod(geometry.input_size)


def forward(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """(N, C, D, H, W): the weight times the patches, any groups."""
    patches = _patches(x, geometry, first_axis=2)  # (N, C, OD, KD, OH, KH, OW, KW)
    if patches.ndim == 8:
        patches = patches.transpose(0, 1, 3, 5, 7, 2, 4, 6)
    matrix = _matrix(weight, geometry)
    patches = patches.reshape(geometry.batch, geometry.groups, matrix.shape[2], -1)
    y = (matrix @ patches).reshape(geometry.output_shape)
    return y if bias is None else add_bias(y, bias, channel_axis=1)


def input_gradient(dy: mx.array, weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """The product the other way, and the patches put back in place."""
    patches = _matrix(weight, geometry).swapaxes(1, 2) @ rows(dy, geometry)
    x = patches.reshape(
        *(geometry.batch, geometry.in_channels),
        *geometry.kernel_size,
        *geometry.output_size,
    )
    x = x.transpose(0, 1, 5, 2, 6, 3, 7, 4)  # (N, C, OD, KD, OH, KH, OW, KW)
    return _put_back(x, geometry, first_axis=2)


def _put_back(x: mx.array, geometry: ConvGeometry, first_axis: int) -> mx.array:
    """Axes of outputs and taps in turn joined to those of the input."""
    before = [(0, 0)] * first_axis
    after = [(0, 0)] * (x.ndim - first_axis - 6)
    if geometry.kernel_size != geometry.stride:
        gaps = zip(geometry.kernel_size, geometry.stride, strict=True)
        ends = [end for k, s in gaps for end in ((0, 0), (0, s - k))]
        x = mx.pad(x, [*before, *ends, *after])
    whole = [n * s for n, s in zip(geometry.output_size, geometry.stride, strict=True)]
    x = x.reshape(*x.shape[:first_axis], *whole, *x.shape[first_axis + 6 :])
    # The last gap may be shorter, or longer.
    taken = tuple(slice(n) for n in geometry.input_size)
    x = x[(slice(None),) * first_axis + taken]
    missing = [
        (0, max(n - whole_n, 0))
        for n, whole_n in zip(geometry.input_size, whole, strict=True)
    ]
    if not any(map(any, missing)):
        return x
    return mx.pad(x, [*before, *missing, *after])


def _matrix(weight: mx.array, geometry: ConvGeometry) -> mx.array:
    """(O, C/g, K..) -> (g, O/g, C/g * K)."""
    g = geometry.groups
    return weight.reshape(g, weight.shape[0] // g, math.prod(weight.shape[1:]))


def forward_channels_last(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """(N, D, H, W, C): the patches times the weight, one group."""
    matrix = weight.transpose(2, 3, 4, 1, 0).reshape(-1, geometry.out_channels)
    rows = gather(x, geometry).reshape(-1, matrix.shape[0])
    y = rows @ matrix if bias is None else mx.addmm(bias, rows, matrix)
    return y.reshape(geometry.batch, *geometry.output_size, geometry.out_channels)


def gather(x: mx.array, geometry: ConvGeometry) -> mx.array:
    """(N, D, H, W, C) -> (N, OD, OH, OW, K * C)."""
    patches = _patches(x, geometry, first_axis=1)  # (N, OD, KD, OH, KH, OW, KW, C)
    if patches.ndim == 8:
        patches = patches.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    channels = math.prod(geometry.kernel_size) * geometry.in_channels
    return patches.reshape(geometry.batch, *geometry.output_size, channels)


def put_back(x: mx.array, geometry: ConvGeometry) -> mx.array:
    """The adjoint of `gather`: (N, OD, OH, OW, K * C) -> (N, D, H, W, C)."""
    x = x.reshape(*x.shape[:4], *geometry.kernel_size, geometry.in_channels)
    x = x.transpose(0, 1, 4, 2, 5, 3, 6, 7)  # (N, OD, KD, OH, KH, OW, KW, C)
    return _put_back(x, geometry, first_axis=1)


def _patches(x: mx.array, geometry: ConvGeometry, first_axis: int) -> mx.array:
    """The voxels that are read, every axis split into outputs and taps."""
    if geometry.kernel_size == (1, 1, 1):
        pairs = zip(geometry.output_size, geometry.stride, strict=True)
        # To the last voxel that is read: MLX adds a whole step to an open end.
        steps = (slice(0, (outputs - 1) * step + 1, step) for outputs, step in pairs)
        whole = geometry.stride == (1, 1, 1)
        return x if whole else x[(slice(None),) * first_axis + tuple(steps)]
    shape, taken = list(x.shape[:first_axis]), [slice(None)] * first_axis
    for axis, (outputs, taps, step) in enumerate(
        zip(geometry.output_size, geometry.kernel_size, geometry.stride, strict=True),
        start=first_axis,
    ):
        # The last step may be longer or shorter than a whole one.
        missing = outputs * step - x.shape[axis]
        if missing > 0:
            ends = [(0, 0)] * x.ndim
            ends[axis] = (0, missing)
            x = mx.pad(x, ends)
        elif missing < 0:
            x = x[(slice(None),) * axis + (slice(0, outputs * step),)]
        shape += [outputs, step]
        taken += [slice(None), slice(0, taps)]
    x = x.reshape(*shape, *x.shape[first_axis + 3 :])
    return x[tuple(taken)]


PATCHES = dataclasses.replace(
    Formulation.of(
        "patches",
        forward,
        temporaries="the voxels that are read, in the order of patches",
        fits=_fits,
        plain=True,
    ),
    input_gradient=input_gradient,
    plain_transpose=True,
)
PATCHES_CHANNELS_LAST = dataclasses.replace(
    Formulation.of(
        "patches",
        forward_channels_last,
        temporaries="the voxels that are read, in the order of patches",
        fits=lambda geometry: geometry.groups == 1 and _fits(geometry),
        channels_last=True,
        takes_half=True,
    ),
    fold=Fold(gather, put_back),
)
