"""How layers of volumetric networks are computed on an Apple GPU, as tables.

And what a weight gradient moves to and from memory: by Lucid's kernel, and by a matrix
product of each tap.

python examples/metal_paths.py
"""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

from lucid.choice import choose_on_gpu
from lucid.geometry import ConvGeometry
from lucid.metal.estimates import lucid_weight_gradient_bytes, mlx_weight_gradient_bytes
import mlx.core as mx

# (channels in and out, groups, kernel, stride), padded to keep or halve the volume
LAYERS = {
    "first layer": (1, 32, 1, 3, 1),
    "3x3x3": (32, 32, 1, 3, 1),
    "3x3x3, 144 channels": (144, 144, 1, 3, 1),
    "halving, 3x3x3": (32, 64, 1, 3, 2),
    "halving, 2x2x2": (32, 64, 1, 2, 2),
    "1x1x1": (64, 128, 1, 1, 1),
    "head, 1x1x1": (32, 3, 1, 1, 1),
    "head, 3x3x3": (32, 3, 1, 3, 1),
    "depthwise": (32, 32, 32, 3, 1),
    "groups of 4": (32, 32, 8, 3, 1),
    "groups of 32": (64, 64, 2, 3, 1),
}

# (channels in and out, groups, voxels along each axis) of 3x3x3 kernels
WEIGHT_GRADIENTS = [
    (16, 16, 1, 128),
    (32, 32, 1, 64),
    (64, 64, 1, 64),
    (512, 512, 32, 32),
]


def geometry_of(
    c: int, o: int, groups: int, kernel: int, stride: int, size: int = 64
) -> ConvGeometry:
    side = (kernel - 1) // 2
    return ConvGeometry(
        batch=1,
        in_channels=c,
        out_channels=o,
        input_size=(size, size, size),
        kernel_size=(kernel, kernel, kernel),
        stride=(stride, stride, stride),
        padding=((side, side), (side, side), (side, side)),
        dilation=(1, 1, 1),
        groups=groups,
        padding_mode="zeros",
    )


def row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def rows() -> list[str]:
    head = ["layer", "channels", "forward", "input gradient", "weight gradient"]
    lines = [row(head), row(["---"] * 5)]
    for name, (c, o, groups, kernel, stride) in LAYERS.items():
        geometry = geometry_of(c, o, groups, kernel, stride)
        chosen = choose_on_gpu(geometry, mx.float32, metal=True)
        paths = [pick.formulation.name for pick in chosen.passes.values()]
        lines.append(row([name, f"{c} -> {o}", *paths]))
    return lines


def rows_of_bytes() -> list[str]:
    head = ["weight gradient", "voxels", "products of taps", "Lucid's kernel", "chosen"]
    lines = [row(head), row(["---"] * 5)]
    for c, o, groups, size in WEIGHT_GRADIENTS:
        geometry = geometry_of(c, o, groups, 3, 1, size)
        moved = [
            f"{count(geometry, mx.float32.size) / 1e6:.0f} MB"
            for count in (mlx_weight_gradient_bytes, lucid_weight_gradient_bytes)
        ]
        chosen = choose_on_gpu(geometry, mx.float32, metal=True).weight_gradient
        layer = f"{c} -> {o}" + (f", {groups} groups" if groups > 1 else "")
        lines.append(row([layer, f"{size}^3", *moved, chosen.formulation.name]))
    return lines


if __name__ == "__main__":
    about = (__doc__ or "").splitlines()[0]
    command_line.Parser(prog="metal_paths", description=about).parse_args()
    print("\n".join([*rows(), "", *rows_of_bytes()]))
