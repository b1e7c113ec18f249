"""How fast a grouped 3x3x3 convolution can be on an Apple GPU, on paper.

    python examples/roofline.py

For each output of (1, 32, 64, 64, 64) -> 32 channels, float32, forward: the bytes moved
and the operations done by Lucid's kernel and by the best that MLX's own operations can
do, and the time that a GPU's published bandwidth and rate allow: the larger of bytes /
bandwidth and operations / rate. No GPU reaches its bound; the ratio is what to look at.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from lucid.geometry import ConvGeometry, conv_geometry
from lucid.metal.choice import choose
from lucid.metal.costs import Cost, costs
import mlx.core as mx

SHAPE = (1, 32, 64, 64, 64)


class Gpu(NamedTuple):
    """What is published of it."""

    name: str
    bandwidth: float  # bytes a second
    rate: float  # float32 operations a second

    def bound(self, cost: Cost) -> float:
        """Milliseconds at least."""
        return 1000 * max(cost.moved / self.bandwidth, cost.flops / self.rate)


# Bandwidths, and M1's rates, as Apple published them; M4: 10 cores of 128 lanes, 2
# operations a cycle, at 1.47 GHz.
GPUS = (
    Gpu("M1", 68.25e9, 2.6e12),
    Gpu("M1 Max", 400e9, 10.4e12),
    Gpu("M4", 120e9, 3.76e12),
)


def geometry_of(groups: int) -> ConvGeometry:
    one = (1, 1, 1)
    weight = (SHAPE[1], SHAPE[1] // groups, 3, 3, 3)
    return conv_geometry(SHAPE, weight, one, one, one, groups, "zeros")


def planes(geometry: ConvGeometry) -> Cost:
    """Grouped mx.conv2d for each depth tap, depth as the batch, and their sum.

    MLX convolves depthwise, and with at most 4 or with 16 channels a group, without a
    temporary; otherwise it copies K^2 patches of its input.
    """
    kd, kh, kw = geometry.kernel_size
    x = 4 * geometry.batch * geometry.in_channels * math.prod(geometry.input_size)
    y = 4 * math.prod(geometry.output_shape)
    per_group = geometry.in_channels // geometry.groups
    held = {"planes of every tap": kd * y}
    if per_group > 4 and per_group % 16:
        held["patches"] = kh * kw * x
    a_tap = x + y + 2 * held.get("patches", 0)
    flops = 2 * math.prod(geometry.output_shape) * per_group * kd * kh * kw
    return Cost(flops, kd * a_tap + (kd - 1) * 3 * y, held)


def rows() -> list[str]:
    header = ["groups", "chosen", "by", "bytes", "FLOP", "temporaries"]
    header += [f"{gpu.name}, ms" for gpu in GPUS]
    lines = [header, ["---"] * len(header)]
    outputs = math.prod(SHAPE)
    for groups in (32, 16, 8, 4, 2):
        geometry = geometry_of(groups)
        kernel = costs(geometry, mx.float32, "kernels")[0]
        per_group = costs(geometry, mx.float32, "mx.conv3d by group")[0]
        by_mlx = {
            "`mx.conv3d` by group": per_group,
            "`mx.conv2d` by tap": planes(geometry),
        }
        best = min(by_mlx, key=lambda name: GPUS[0].bound(by_mlx[name]))
        for name, cost in (("Lucid's kernel", kernel), (best, by_mlx[best])):
            bounds = [f"{gpu.bound(cost):.2f}" for gpu in GPUS]
            lines.append(
                [
                    f"{groups}",
                    choose(geometry, kernels=True).path if cost is kernel else "",
                    name,
                    f"{cost.moved / outputs:.1f}",
                    f"{cost.flops / outputs:.0f}",
                    f"{cost.held / (4 * outputs):.1f} x input",
                    *bounds,
                ]
            )
    return ["| " + " | ".join(line) + " |" for line in lines]


if __name__ == "__main__":
    print("\n".join(rows()))
