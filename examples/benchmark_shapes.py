"""The convolutions that `benchmark_conv3d.py` times, by name and in sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

DENSE = {"padding": 1}


class Case(NamedTuple):
    """A convolution: its shapes, (N, C, D, H, W) and (O, C / groups, KD, KH, KW)."""

    input: tuple[int, ...]
    weight: tuple[int, ...]
    options: dict[str, Any] = DENSE  # of PyTorch's and Lucid's `conv3d`
    dtype: str = "float32"

    def triple(self, name: str) -> tuple[int, int, int]:
        """The stride or dilation of each axis; 1 where it is not given."""
        value = self.options.get(name, 1)
        return value if isinstance(value, tuple) else (value,) * 3

    @property
    def groups(self) -> int:
        return self.options.get("groups", 1)

    @property
    def mode(self) -> str:
        return self.options.get("padding_mode", "zeros")

    @property
    def sides(self) -> list[tuple[int, int]]:
        """Voxels added (before, after) each axis; an odd one of 'same' goes after."""
        padding = self.options.get("padding", 0)
        if padding == "same":
            spans = zip(self.triple("dilation"), self.weight[2:], strict=True)
            totals = [d * (k - 1) for d, k in spans]
            return [(total // 2, total - total // 2) for total in totals]
        return [
            (p, p) for p in (padding if isinstance(padding, tuple) else [padding] * 3)
        ]

    @property
    def output(self) -> tuple[int, ...]:
        axes = zip(
            self.input[2:],
            self.weight[2:],
            self.sides,
            self.triple("stride"),
            self.triple("dilation"),
            strict=True,
        )
        sizes = ((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, p, s, d in axes)
        return (self.input[0], self.weight[0], *sizes)


TABLE = {
    "four-channels": Case((2, 4, 16, 32, 32), (32, 4, 3, 3, 3)),
    "one-channel": Case((1, 1, 32, 64, 64), (16, 1, 3, 3, 3)),
    "dense": Case((2, 32, 16, 32, 32), (64, 32, 3, 3, 3)),
    "strided": Case(
        (1, 64, 16, 16, 16), (128, 64, 3, 3, 3), {"stride": 2, "padding": 1}
    ),
    "dilated": Case(
        (1, 16, 16, 24, 24), (32, 16, 3, 3, 3), {"dilation": 2, "padding": 2}
    ),
    "pointwise": Case((2, 32, 16, 32, 32), (64, 32, 1, 1, 1), {}),
    "grouped": Case((1, 32, 16, 24, 24), (64, 8, 3, 3, 3), {"groups": 4, "padding": 1}),
    "depthwise": Case(
        (1, 32, 16, 32, 32), (32, 1, 3, 3, 3), {"groups": 32, "padding": 1}
    ),
}

# The layers of a 3-D U-Net with 16 to 128 channels, for one volume of 64^3 voxels.
UNET = {
    f"unet-{name}": Case((1, c, n, n, n), (o, c, k, k, k), options)
    for name, c, o, n, k, options in [
        ("in-64", 1, 16, 64, 3, DENSE),
        ("down-64", 16, 16, 64, 3, DENSE),
        ("halve-64", 16, 32, 64, 3, {"stride": 2, "padding": 1}),
        ("down-32", 32, 32, 32, 3, DENSE),
        ("halve-32", 32, 64, 32, 3, {"stride": 2, "padding": 1}),
        ("down-16", 64, 64, 16, 3, DENSE),
        ("halve-16", 64, 128, 16, 3, {"stride": 2, "padding": 1}),
        ("bottom-8", 128, 128, 8, 3, DENSE),
        ("up-16", 128 + 64, 64, 16, 3, DENSE),
        ("up-32", 64 + 32, 32, 32, 3, DENSE),
        ("up-64", 32 + 16, 16, 64, 3, DENSE),
        ("out-64", 16, 2, 64, 1, {}),
    ]
}

# Layers of video networks (R3D-18 and R(2+1)D-18) on 16 frames of 112 x 112.
VIDEO = {
    "video-stem": Case(
        (1, 3, 16, 112, 112),
        (64, 3, 3, 7, 7),
        {"stride": (1, 2, 2), "padding": (1, 3, 3)},
    ),
    "video-stem-space": Case(
        (1, 3, 16, 112, 112),
        (45, 3, 1, 7, 7),
        {"stride": (1, 2, 2), "padding": (0, 3, 3)},
    ),
    "video-stem-time": Case(
        (1, 45, 16, 56, 56), (64, 45, 3, 1, 1), {"padding": (1, 0, 0)}
    ),
    "video-block": Case((1, 64, 16, 56, 56), (64, 64, 3, 3, 3)),
}

# So little work that what a call costs by itself is most of the time.
SMALL = {
    "small-dense": Case((1, 4, 8, 8, 8), (8, 4, 3, 3, 3)),
    "small-strided": Case(
        (1, 8, 8, 8, 8), (8, 8, 3, 3, 3), {"stride": 2, "padding": 1}
    ),
    "small-pointwise": Case((1, 8, 4, 4, 4), (8, 8, 1, 1, 1), {}),
    "small-grouped": Case(
        (1, 16, 4, 4, 4), (16, 4, 3, 3, 3), {"groups": 4, "padding": 1}
    ),
    "small-depthwise": Case(
        (1, 8, 8, 8, 8), (8, 1, 3, 3, 3), {"groups": 8, "padding": 1}
    ),
}

# A volume whose K slices would take 3.6 GB.
LARGE = {"volume-128": Case((1, 16, 128, 128, 128), (16, 16, 3, 3, 3), {"padding": 1})}

_VOLUME, _KERNEL = (1, 16, 16, 32, 32), (16, 16, 3, 3, 3)
MODES = {
    f"mode-{mode}": Case(_VOLUME, _KERNEL, {"padding": 1, "padding_mode": mode})
    for mode in ("zeros", "reflect", "replicate", "circular")
} | {
    "mode-same-even": Case(_VOLUME, (16, 16, 4, 4, 4), {"padding": "same"}),
    "mode-reflect-depthwise": Case(
        _VOLUME,
        (16, 1, 3, 3, 3),
        {"padding": 1, "padding_mode": "reflect", "groups": 16},
    ),
}

BFLOAT16 = {
    f"{name}-bf16": case._replace(dtype="bfloat16") for name, case in TABLE.items()
}

SETS = {
    "table": TABLE,
    "unet": UNET,
    "video": VIDEO,
    "small": SMALL,
    "large": LARGE,
    "modes": MODES,
    "bfloat16": BFLOAT16,
}
SETS["all"] = {name: case for cases in SETS.values() for name, case in cases.items()}


def select(names: Iterable[str]) -> dict[str, Case]:
    """The cases of these sets and shapes, each once.

    Raises:
        ValueError: for a name that is neither.
    """
    chosen: dict[str, Case] = {}
    for name in names:
        if name not in SETS and name not in SETS["all"]:
            raise ValueError(
                f"{name!r} is neither a set, {', '.join(SETS)}, nor one of the shapes, "
                f"{', '.join(SETS['all'])}."
            )
        chosen |= SETS.get(name) or {name: SETS["all"][name]}
    return chosen
