"""Which formulation computes a convolution on a GPU, and why."""

from __future__ import annotations

import os
from typing import NamedTuple

from lucid import _device
from lucid._plain import is_plain
from lucid.geometry import ConvGeometry
from lucid.ops.native import matrix_channels

# How many times the products MLX's padding of channels may cost before Lucid's kernels
# win. MLX's matrix kernels reach, say, two thirds of a GPU's peak; ours load 18 vectors
# for 48 products of vectors (3x3x3, four channels a group or more) from a cache of 64
# bytes a cycle and core: a third of the peak, so that 2 would be even. The margin is
# for what is not known: these are estimates, nobody has timed either on a Mac.
WASTE = 3


class Choice(NamedTuple):
    """A path, by the name that `explain` prints, and the reason for it."""

    path: str
    reason: str


def choose(geometry: ConvGeometry, kernels: bool) -> Choice:
    """The path that a convolution takes on a GPU, with or without Lucid's kernels."""
    g = geometry.groups
    c, o = geometry.in_channels // g, geometry.out_channels // g
    if geometry.batch == 0:
        return Choice("columns", "an empty batch, whose gradients MLX's conv3d refuses")
    if not kernels:
        path = "mx.conv3d, plain" if g == 1 else "columns"
        return Choice(
            path, "Lucid's kernels are switched off, or the GPU is not Apple's"
        )
    # A matrix product takes any channels, and any derivative.
    if g == 1 and geometry.kernel_size == (1, 1, 1) and not geometry.is_padded:
        return Choice("matmul", "a kernel of one voxel is a matrix product")
    # MLX convolves by matrices of 16 channels (dispatch_conv_3D_gpu in its backend).
    wide_c, wide_o = matrix_channels(c, o)
    times = wide_c * wide_o / (c * o)
    if times > WASTE:
        return Choice(
            "kernels",
            f"mx.conv3d would multiply {wide_c} -> {wide_o} channels for {c} -> {o} a "
            f"group, {times:.3g} times the products",
        )
    if g == 1:
        return Choice("mx.conv3d", "many channels: MLX's matrix kernels win")
    # Grouped mx.conv2d, one depth tap at a time, would copy patches (K^2 inputs) unless
    # C/g is at most 4 or divides by 16, and would sum half types tap by tap.
    return Choice(
        "mx.conv3d by group",
        f"{c} -> {o} channels a group fill MLX's matrix kernels; slicing and joining "
        "the groups reads and writes input and output once more",
    )


def enabled() -> bool:
    """Whether Lucid's Metal kernels run on this machine's GPU."""
    return not switched_off() and _device.has_metal()


def switched_off() -> bool:
    """By `LUCID_METAL=0`, or inside `lucid.plain_operations`."""
    return is_plain() or os.environ.get("LUCID_METAL") == "0"
