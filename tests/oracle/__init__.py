"""What Lucid's numbers are compared with, and the convolutions they are compared on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lucid.nn.functional as F
import mlx.core as mx
import numpy as np

from tests.oracle.direct import padding_pairs

MODES = ("zeros", "reflect", "replicate", "circular")
# (input channels, output channels, groups)
CHANNELS = {
    "dense": (3, 4, 1),
    "wide": (17, 2, 1),  # MLX's own conv3d, where stride and dilation are 1
    "grouped": (4, 6, 2),
    "depthwise": (3, 3, 3),
    "multiplier": (2, 4, 2),
}
# kernel, stride, dilation, padding, size: odd and even kernels, tiny and uneven sizes
SPATIAL: list[tuple[Any, ...]] = [
    ((3, 3, 3), 1, 1, 1, (4, 5, 3)),
    ((3, 3, 3), 1, 1, "valid", (3, 4, 5)),
    ((3, 3, 3), 2, 1, 1, (5, 4, 7)),
    ((3, 3, 3), 1, 2, 2, (5, 3, 4)),
    ((3, 2, 4), 1, 1, "same", (4, 3, 5)),
    ((2, 2, 3), 1, (1, 2, 3), "same", (3, 4, 7)),
    ((1, 3, 2), (2, 1, 3), (3, 2, 1), (0, 2, 1), (3, 5, 4)),
    ((3, 1, 2), (1, 3, 2), 2, (1, 0, 2), (4, 2, 3)),
    ((1, 1, 1), 1, 1, 0, (1, 1, 1)),
    ((1, 1, 1), 3, 1, 0, (4, 5, 1)),
    ((2, 2, 2), 2, 1, 0, (2, 3, 2)),
    ((3, 3, 3), 3, 1, 1, (2, 2, 2)),
    ((4, 1, 2), (1, 2, 1), 1, (2, 1, 0), (3, 2, 4)),
]


@dataclass(frozen=True)
class Problem:
    """One convolution: the arguments of `F.conv3d`, the arrays by their shapes."""

    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    bias: bool = True
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    padding_mode: str = "zeros"

    @property
    def options(self) -> dict[str, Any]:
        names = ("stride", "padding", "dilation", "groups", "padding_mode")
        return {name: getattr(self, name) for name in names}

    @property
    def function(self) -> Callable[..., mx.array]:
        """`F.conv3d` of x, weight and, if there is one, bias."""
        return lambda *arrays: F.conv3d(*arrays, **self.options)

    def draw(self, rng: np.random.Generator) -> list[np.ndarray]:
        """x, weight and, if there is one, bias."""
        shapes = [self.input_shape, self.weight_shape]
        if self.bias:
            shapes.append(self.weight_shape[:1])
        return [uniform(rng, shape) for shape in shapes]


def uniform(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Float32 in [0.5, 1.5]: no sum of products cancels."""
    return rng.uniform(0.5, 1.5, shape).astype(np.float32)


def to_mlx(
    arrays: Sequence[np.ndarray], dtype: mx.Dtype = mx.float32
) -> list[mx.array]:
    return [mx.array(array).astype(dtype) for array in arrays]


def problem(
    channels: str,
    mode: str = "zeros",
    spatial: tuple[Any, ...] = SPATIAL[6],
    **changes: Any,
) -> Problem:
    """A problem by its names in the tables above, some fields replaced."""
    c, o, groups = CHANNELS[channels]
    kernel, stride, dilation, padding, size = spatial
    fields = {
        "input_shape": (2, c, *size),
        "weight_shape": (o, c // groups, *kernel),
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": mode,
    }
    return Problem(**{**fields, **changes})


def random_problem(rng: np.random.Generator) -> Problem:
    """Any combination of options, often on the smallest volume that it allows."""
    mode = str(rng.choice(MODES))
    kernel, dilation = _sizes(rng, 1, 4), _sizes(rng, 1, 3)
    padding: Any = [_sizes(rng, 0, 3), int(rng.integers(3)), "same", "valid"][
        rng.integers(4)
    ]
    size = []
    pairs = padding_pairs(padding, kernel, dilation)
    for k, d, pair in zip(kernel, dilation, pairs, strict=True):
        spanned = d * (k - 1) + 1 - sum(pair)
        limit = {"reflect": max(pair) + 1, "circular": max(pair)}.get(mode, 1)
        size.append(max(spanned, limit, 1) + int(rng.choice([0, 0, 1, 2, 4])))
    groups, per_group, multiplier = rng.integers(1, 3, 3, endpoint=True).tolist()
    if rng.random() < 0.1:
        groups, per_group = 1, 16
    batch = [(), (1,), (2,), (3,)][rng.integers(4)]
    return Problem(
        input_shape=(*batch, groups * per_group, *size),
        weight_shape=(groups * multiplier, per_group, *kernel),
        bias=bool(rng.random() < 0.7),
        stride=1 if padding == "same" else _sizes(rng, 1, 3),
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=mode,
    )


def _sizes(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    d, h, w = rng.integers(low, high, 3, endpoint=True).tolist()
    return (d, d, d) if rng.random() < 0.3 else (d, h, w)
