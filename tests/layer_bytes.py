"""The bytes that layers move on a GPU: the table of `docs/layers_on_gpu.md`.

python -m tests.layer_bytes            # prints it
python -m tests.layer_bytes --write    # and puts it in its place
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import os
from pathlib import Path
import sys
from unittest import mock

import lucid
import lucid.nn.functional as F
import mlx.core as mx

from tests.metal_emulator.traffic import bytes_moved, with_gradients

PAGE = Path(__file__).parents[1] / "docs" / "layers_on_gpu.md"
SHAPE = (1, 64, 64, 64, 32)  # channels-last, as a convolution leaves it


@dataclass(frozen=True)
class Layer:
    """A function of a volume, and the least that it could move.

    Attributes:
        forward: how many times the input and the output have to be read and written.
        both: the same, with the gradient.
    """

    function: Callable[[mx.array], mx.array]
    forward: tuple[float, float]
    both: tuple[float, float]


def _activation(function: Callable[[mx.array], mx.array]) -> Layer:
    # Forward x, y; backward x, dy, dx.
    return Layer(function, (1, 1), (3, 2))


def _norm(function: Callable[[mx.array], mx.array]) -> Layer:
    # The statistics come before the first output, and before the first gradient: x
    # twice, y; x and dy twice, dx.
    return Layer(function, (2, 1), (5, 3))


def _linear(function: Callable[[mx.array], mx.array]) -> Layer:
    # x, y; dy, dx.
    return Layer(function, (1, 1), (2, 2))


def _ones() -> mx.array:
    return mx.ones((SHAPE[4],))


def _evaluated(x: mx.array) -> mx.array:
    one = _ones().astype(x.dtype)
    return F.batch_norm(x, one, one, one, one)


LAYERS = {
    "`InstanceNorm3d`": _norm(F.instance_norm),
    "`GroupNorm`, 8 groups": _norm(lambda x: F.group_norm(x, 8)),
    "`BatchNorm3d`, training": _norm(
        lambda x: F.batch_norm(x, None, None, training=True)
    ),
    "`BatchNorm3d`, evaluation": _linear(_evaluated),
    # Backward, the places of the largest voxels or the input itself: the smaller.
    "`MaxPool3d(2)`": Layer(lambda x: F.max_pool3d(x, 2), (1, 1), (2, 2.5)),
    "`MaxPool3d(3, 2, 1)`": Layer(lambda x: F.max_pool3d(x, 3, 2, 1), (1, 1), (2, 2.5)),
    "`AvgPool3d(2)`": _linear(lambda x: F.avg_pool3d(x, 2)),
    "`Upsample(2, 'trilinear')`": _linear(
        lambda x: F.interpolate(x, scale_factor=2, mode="trilinear")
    ),
    "`Upsample(2, 'nearest')`": _linear(lambda x: F.interpolate(x, scale_factor=2)),
    "`ReflectionPad3d(1)`": _linear(lambda x: F.pad(x, (1,) * 6, "reflect")),
    "`lucid.cat` of two": _linear(lambda x: lucid.cat([x, x], 1)),
    "`ReLU`": _activation(F.relu),
    "`LeakyReLU`": _activation(F.leaky_relu),
    "`PReLU`": _activation(lambda x: F.prelu(x, _ones().astype(x.dtype))),
    "`ELU`": _activation(F.elu),
    "`SiLU`": _activation(F.silu),
    "`GELU`": _activation(F.gelu),
    "`Softmax(1)`": _activation(lambda x: F.softmax(x, 1)),
    "`Dropout`": _linear(F.dropout),
}
DTYPES = {"float32": mx.float32, "half": mx.float16}


def moved(layer: Layer, dtype: mx.Dtype, metal: bool) -> tuple[float, float]:
    """Bytes an element of the output, forward and with the gradient."""
    x = mx.zeros(SHAPE, dtype)

    def of_view(x: mx.array) -> mx.array:
        """Channels-last memory goes in and comes out."""
        return layer.function(x.transpose(0, 4, 1, 2, 3)).transpose(0, 2, 3, 4, 1)

    with mock.patch.dict(os.environ, LUCID_METAL="1" if metal else "0"):
        dy = mx.zeros(output_shape(layer), dtype)
        forward = bytes_moved(of_view, x)
        both = bytes_moved(lambda *xs: with_gradients(of_view, *xs), x, dy)
    return forward / dy.size, both / dy.size


def output_shape(layer: Layer) -> tuple[int, ...]:
    y = layer.function(mx.zeros(SHAPE).transpose(0, 4, 1, 2, 3))  # which is lazy
    return y.transpose(0, 2, 3, 4, 1).shape


def least(layer: Layer, dtype: mx.Dtype) -> tuple[float, float]:
    """The same, if nothing were read or written but what must be."""
    shape = output_shape(layer)
    ratio = mx.zeros(SHAPE).size / mx.zeros(shape).size
    forward, both = (
        dtype.size * (of_x * ratio + of_y) for of_x, of_y in (layer.forward, layer.both)
    )
    return forward, both


def rows() -> Iterator[str]:
    titles = ["layer"]
    for dtype in DTYPES:
        titles += [f"{dtype}: least", "Lucid", "MLX"]
    yield _row(titles)
    yield _row(["---"] * len(titles))
    for name, layer in LAYERS.items():
        cells = [name]
        for dtype in DTYPES.values():
            of_dtype = [
                least(layer, dtype),
                moved(layer, dtype, metal=True),
                moved(layer, dtype, metal=False),
            ]
            cells += [f"{forward:.3g} / {both:.3g}" for forward, both in of_dtype]
        yield _row(cells)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    return "\n".join(rows())


def with_table(page: str, new: str) -> str:
    """`page` with `new` in place of its first table."""
    lines = page.splitlines()
    is_row = [line.startswith("|") for line in lines]
    first = is_row.index(True)
    last = is_row.index(False, first)
    return "\n".join([*lines[:first], new, *lines[last:]]) + "\n"


if __name__ == "__main__":
    text = table()
    print(text)
    if "--write" in sys.argv:
        PAGE.write_text(with_table(PAGE.read_text(), text))
