"""What a row of the tables of layers is: a layer, and what it is called on."""

from __future__ import annotations

from collections.abc import Callable
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
