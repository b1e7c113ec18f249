"""Convolution of small volumes: one gather makes the columns, one product the output.

Where the work is small, the number of operations is what costs: here four or five,
whatever the kernel. The padding is part of the index, but for zeros.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from lucid.geometry import ConvGeometry, Padding, Triple
from lucid.ops.padding import pad
import mlx.core as mx
import numpy as np


def conv3d_gathered(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """(N, C, D, H, W) -> (N, O, OD, OH, OW)."""
    size, sides = geometry.input_size, geometry.padding
    if geometry.padding_mode == "zeros" and geometry.is_padded:
        x = pad(x, sides, "zeros")
        size, sides = geometry.padded_size, geometry.without_padding.padding
    index = _index(
        *(size, sides, geometry.padding_mode),
        *(geometry.output_size, geometry.kernel_size),
        *(geometry.stride, geometry.dilation),
    )
    n, g = geometry.batch, geometry.groups
    voxels = x.reshape(n, geometry.in_channels, -1)
    columns = mx.take(voxels, index, axis=2)  # (N, C, K * P)
    columns = columns.reshape(n, g, -1, math.prod(geometry.output_size))
    y = weight.reshape(g, geometry.out_channels // g, -1) @ columns
    y = y.reshape(geometry.output_shape)
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)


@functools.lru_cache(maxsize=256)
def _index(
    size: Triple,
    sides: Padding,
    mode: str,
    output_size: Triple,
    kernel_size: Triple,
    stride: Triple,
    dilation: Triple,
) -> mx.array:
    """The voxel, of the flat volume, that each tap reads for each output."""
    modes: dict[str, Any] = {
        "zeros": "constant",
        "reflect": "reflect",
        "replicate": "edge",
        "circular": "wrap",
    }
    axes = []
    for n, side, outputs, taps, step, gap in zip(
        size, sides, output_size, kernel_size, stride, dilation, strict=True
    ):
        source = np.pad(np.arange(n), side, modes[mode])
        axes.append(source[np.arange(taps)[:, None] * gap + np.arange(outputs) * step])
    d, h, w = axes
    flat = (
        d[:, None, None, :, None, None] * size[1] + h[None, :, None, None, :, None]
    ) * size[2] + w[None, None, :, None, None, :]
    return mx.array(flat.reshape(-1).astype(np.uint32))
