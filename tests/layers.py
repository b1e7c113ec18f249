"""The table of layers: what `tests/nn/test_layers.py` and the oracle's test read.

A new layer is a new row. A row is a layer under one set of arguments, and what it is
called on; the tests ask of every row what all layers have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import math
from typing import Any

from lucid import nn
import mlx.core as mx
import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def spread(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Different numbers in [-2, 2], evenly spaced: no ties, and none at a kink in 0."""
    numbers = (np.arange(math.prod(shape)) + 0.5) / max(1, math.prod(shape))
    return rng.permutation(4 * numbers - 2).reshape(shape).astype(np.float32)


def fractions(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers well inside (0, 1)."""
    return rng.uniform(0.1, 0.9, shape).astype(np.float32)


def shifted(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of mean 30 and standard deviation about 1."""
    return spread(rng, shape) + np.float32(30)


def classes(count: int) -> Draw:
    """Class indices below `count`."""
    return lambda rng, shape: rng.integers(0, count, shape).astype(np.int32)


@dataclass(frozen=True)
class Input:
    """An array a layer is called on; integers, and constants, have no gradient."""

    shape: tuple[int, ...]
    draw: Draw = spread
    constant: bool = False


VOLUME = Input((2, 4, 5, 6, 7))


@dataclass(frozen=True)
class Row:
    """A layer under one set of arguments, and what it is called on.

    Attributes:
        name: of `nn.X` and of PyTorch's (or else MONAI's) class.
        arguments: of its constructor.
        options: its keyword arguments.
        inputs: what it is called on: batches, of the layer's channels.
        lazy: the arguments of `Lazy` + name that make the same layer; None if there is
            no such class.
        random: whether it is random in training, and so compared in evaluation only.
        unbatched: whether a volume alone gives what it gives in a batch.
        empty: whether a batch of none gives a batch of none.
        tolerance: how many times the usual distance from float64 is allowed, where a
            sum cancels.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Input, ...] = (VOLUME,)
    lazy: tuple[Any, ...] | None = None
    random: bool = False
    unbatched: bool = True
    empty: bool = True
    tolerance: float = 1

    def __str__(self) -> str:
        options = (f"{name}={value}" for name, value in self.options.items())
        inside = ", ".join([*map(str, self.arguments), *options])
        sizes = " ".join("x".join(map(str, i.shape)) for i in self.inputs)
        return f"{self.name}({inside})-{sizes}"

    def layer(self, seed: int = 0) -> Any:
        """A new `nn.X`, its parameters and floating buffers drawn from [0.5, 1.5]."""
        layer = getattr(nn, self.name)(*self.arguments, **self.options)
        layer.load_state_dict(drawn_state(layer, seed))
        return layer

    def lazy_layer(self) -> Any:
        """A new `nn.LazyX` of the same arguments."""
        assert self.lazy is not None
        return getattr(nn, f"Lazy{self.name}")(*self.lazy, **self.options)

    def draw(self, seed: int = 0) -> list[np.ndarray]:
        """What the layer is called on."""
        rng = np.random.default_rng(seed)
        return [entry.draw(rng, entry.shape) for entry in self.inputs]

    def modes(self) -> list[bool]:
        """Whether in training: what can be compared with another layer's output."""
        return [False] if self.random else [True, False]

    def differentiable(self) -> tuple[int, ...]:
        """Which inputs have a gradient."""
        rng = np.random.default_rng(0)
        return tuple(
            i
            for i, entry in enumerate(self.inputs)
            if not entry.constant and entry.draw(rng, (1,)).dtype.kind == "f"
        )


def drawn_state(layer: Any, seed: int) -> dict[str, np.ndarray]:
    """A state dict of the layer's names and shapes, with numbers from [0.5, 1.5]."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, array in layer.state_dict().items():
        drawn = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        is_float = mx.issubdtype(array.dtype, mx.floating)
        state[name] = drawn if is_float else np.array(array)
    return state


def outputs(result: Any) -> list[mx.array]:
    """A layer's output as a list, where it may be a tuple (of values and indices)."""
    return list(result) if isinstance(result, tuple | list) else [result]


def rows(
    name: str, *variants: tuple[tuple[Any, ...], dict[str, Any]], **fields: Any
) -> list[Row]:
    """A row for each variant of a layer's (arguments, options)."""
    return [Row(name, arguments, options, **fields) for arguments, options in variants]


def _conv(**options: Any) -> Row:
    return Row("Conv3d", (4, 6, 3), options, lazy=(6, 3))


CONVOLUTIONS = [
    _conv(),
    _conv(padding=1, stride=(1, 2, 1)),
    _conv(padding="same", dilation=2, groups=2),
    _conv(padding=(0, 1, 2), padding_mode="circular", bias=False),
]

ACTIVATIONS = [
    *(Row(name) for name in ("ReLU", "GELU", "SiLU", "Sigmoid", "Tanh")),
    *(Row(name, (), {"inplace": True}) for name in ("ReLU", "SiLU", "LeakyReLU")),
    *rows("GELU", (("tanh",), {})),
    *rows("LeakyReLU", ((0.3,), {})),
    *rows("Softmax", ((1,), {}), ((), {"dim": -2}), unbatched=False),
    *rows("LogSoftmax", ((1,), {}), ((), {"dim": -2}), unbatched=False),
    Row("PReLU"),
    Row("PReLU", (4, 0.1), unbatched=False),
    *rows("ELU", ((), {}), ((0.3, True), {})),
    *rows("SELU", ((), {}), ((True,), {})),
    *rows("CELU", ((), {}), ((0.3,), {}), ((-0.7,), {})),
    *rows("Mish", ((), {}), ((), {"inplace": True})),
    *rows("Hardswish", ((), {})),
    *rows("Softplus", ((), {}), ((3.0, 2.0), {})),
]

SHAPES = [
    *rows("Flatten", ((), {}), unbatched=False),
    Row("Flatten", (-2, -1)),
    Row("Identity"),
]

_SIDES = (1, 0, 2, 1, 0, 3)

PADDINGS = [
    *rows("ConstantPad3d", ((2, -1.5), {}), (((-1, 2, 0, 1, -2, 0), 3), {})),
    *rows("ZeroPad3d", ((_SIDES,), {}), ((1,), {})),
    *rows("ReflectionPad3d", ((_SIDES,), {}), ((4,), {})),
    *rows("ReplicationPad3d", ((_SIDES,), {}), ((7,), {})),
    *rows("CircularPad3d", ((_SIDES,), {}), ((5,), {})),
]

UPSAMPLINGS = rows(
    "Upsample",
    ((), {"scale_factor": 2, "mode": "trilinear"}),
    ((), {"scale_factor": 2}),
    ((), {"size": (10, 3, 9)}),
    ((7,), {"mode": "nearest-exact"}),
    (((4, 9, 10),), {"mode": "trilinear", "align_corners": True}),
    ((None, (1.5, 0.7, 2), "trilinear", False, True), {}),
    ((None, (1.5, 0.7, 2.0), "trilinear"), {}),
    (((3, 8, 7),), {"mode": "area"}),
    unbatched=False,
)


def between(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers midway between those of `spread`: no difference is 0, 0.5 or 1."""
    return spread(rng, shape) + np.float32(2 / max(1, math.prod(shape)))


_TARGET = Input(VOLUME.shape, between)
_PROBABILITY = Input(VOLUME.shape, fractions)
_CLASSES = Input((2, 5, 6, 7), classes(4))


def _losses(name: str, *options: dict[str, Any], **fields: Any) -> list[Row]:
    """Rows of a loss: without reduction, one for each of the options, one summed."""
    variants = [{"reduction": "none"}, *options, {"reduction": "sum"}]
    return [
        Row(
            name,
            (),
            given,
            unbatched=given == variants[0] and fields.get("unbatched", True),
            empty=given == variants[0],
            **{k: v for k, v in fields.items() if k != "unbatched"},
        )
        for given in variants
    ]


LOSSES = [
    *_losses("L1Loss", {}, inputs=(VOLUME, _TARGET)),
    *_losses("MSELoss", {}, inputs=(VOLUME, _TARGET)),
    *_losses("SmoothL1Loss", {}, {"beta": 0.5}, inputs=(VOLUME, _TARGET)),
    *_losses("HuberLoss", {}, {"delta": 0.5}, inputs=(VOLUME, _TARGET)),
    *_losses("BCELoss", {}, inputs=(_PROBABILITY, _PROBABILITY)),
    *_losses("BCEWithLogitsLoss", {}, inputs=(VOLUME, _PROBABILITY)),
    *_losses(
        "NLLLoss", {"ignore_index": 2}, {}, inputs=(VOLUME, _CLASSES), unbatched=False
    ),
    *_losses(
        "CrossEntropyLoss",
        {"label_smoothing": 0.1},
        {"ignore_index": 1},
        {},
        inputs=(VOLUME, _CLASSES),
        unbatched=False,
    ),
    *_losses(
        "CrossEntropyLoss",
        {"label_smoothing": 0.3},
        inputs=(VOLUME, _PROBABILITY),
        unbatched=False,
    ),
]

FAMILIES: dict[str, Sequence[Row]] = {
    "convolutions": CONVOLUTIONS,
    "activations": ACTIVATIONS,
    "shapes": SHAPES,
    "paddings": PADDINGS,
    "upsamplings": UPSAMPLINGS,
    "losses": LOSSES,
}

ROWS = [row for family in FAMILIES.values() for row in family]


@dataclass(frozen=True)
class Refused:
    """What the layer refuses, as PyTorch's does: by its arguments or at the call.

    Attributes:
        name: of `nn.X`.
        arguments: of its constructor.
        options: its keyword arguments.
        shapes: of the inputs that it is called on; None if it is refused before.
        error: what is raised.
        says: what the message names.
    """

    name: str
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] | None = None
    error: type[Exception] = ValueError
    says: str = ""

    def __str__(self) -> str:
        return f"{self.name}{self.arguments}{self.options}{self.shapes or ''}"


REFUSED = [
    Refused("Conv3d", (4, 6, 3), {"groups": 3}, says="groups"),
    Refused("Conv3d", (4, 6, 3), {"padding": "full"}, says="padding"),
    Refused("Conv3d", (4, 6, 3), {"padding_mode": "mirror"}, says="padding_mode"),
    Refused("Conv3d", (4, 6, 3), shapes=((2, 3, 5, 5, 5),), says="channels"),
    Refused("Conv3d", (4, 6, 3), shapes=((2, 4, 5, 5),), says="channels"),
    Refused("Conv3d", (4, 6, 3), shapes=((4, 5, 5),), says="input"),
    Refused("Conv3d", (4, 6, 3), shapes=((2, 4, 2, 5, 5),), says="kernel_size"),
    Refused("ReflectionPad3d", (4,), shapes=((2, 3, 4, 5, 5),), says="reflect"),
    Refused("CircularPad3d", (5,), shapes=((2, 3, 4, 5, 5),), says="circular"),
    Refused("ReplicationPad3d", (1,), shapes=((4, 5, 5),), says="input"),
    Refused("Upsample", (), shapes=((1, 1, 4, 4, 4),), says="size"),
    Refused("Upsample", (2, 2.0), shapes=((1, 1, 4, 4, 4),), says="scale_factor"),
]
