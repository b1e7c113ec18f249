"""MLX's optimizers and schedules, at ease with lazy layers.

Each optimizer is MLX's, with one difference: a parameter that did not exist when
`init(model.parameters())` was called, or at an earlier update, gets its state at the
first update that has a gradient of it. MLX's own would fail there.
"""

from __future__ import annotations

import inspect
from typing import Any

from lucid._types import finite, flag, integer, shown
import mlx.core as mx
import mlx.optimizers as _mlx
from mlx.optimizers import (
    Optimizer,
    clip_grad_norm,
    cosine_decay,
    exponential_decay,
    join_schedules,
    linear_schedule,
    step_decay,
)
from mlx.utils import tree_flatten, tree_map_with_path

__all__ = [
    "SGD",
    "AdaDelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "MultiOptimizer",
    "Muon",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm",
    "cosine_decay",
    "exponential_decay",
    "join_schedules",
    "linear_schedule",
    "step_decay",
]


def __dir__() -> list[str]:
    return __all__


class _Joinable(Optimizer):
    """An optimizer that parameters may join later."""

    def __init__(self, *args: Any, **kwargs: Any):
        signature = inspect.signature(super().__init__)
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            _check_option(name, value, signature.parameters[name].default)
        super().__init__(*args, **kwargs)

    def init(self, parameters: dict[str, Any]) -> None:
        super().init(_existing(parameters, self.state))

    def apply_gradients(
        self, gradients: dict[str, Any], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        if not _covers(self.state, gradients):
            self.init(gradients)
        return super().apply_gradients(gradients, parameters)


class MultiOptimizer(_mlx.MultiOptimizer):
    __doc__ = _mlx.MultiOptimizer.__doc__

    def init(self, parameters: dict[str, Any]) -> None:
        super().init(_existing(parameters, {}))

    def apply_gradients(
        self, gradients: dict[str, Any], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        updated: dict[str, mx.array] = {}
        parts = self._split_dictionary(gradients)
        for optimizer, part in zip(self.optimizers, parts, strict=True):
            updated |= dict(tree_flatten(optimizer.apply_gradients(part, parameters)))
        # MLX would merge the parts, which fails where their lists differ in length.
        return tree_map_with_path(lambda name, _: updated[name], gradients)


def _check_option(name: str, value: Any, default: Any) -> None:
    """Refuse, by name, what is not of the kind of the default: MLX might die of it."""
    is_schedule = name == "learning_rate" and callable(value)
    if is_schedule or (value is None and default is None):
        return
    if isinstance(default, bool):
        flag(name, value)
    elif isinstance(default, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(default):
            raise TypeError(
                f"`{name}` (={shown(value)}) must be {len(default)} numbers."
            )
        for entry in value:
            finite(name, entry)
    elif isinstance(default, int):
        integer(name, value)
    else:
        finite(name, value)


def _existing(tree: Any, state: Any) -> Any:
    """A tree without its empty arrays; lists as long as the state's, as MLX needs."""
    if isinstance(tree, dict):
        parts = ((k, _existing(v, state.get(k, {}))) for k, v in tree.items())
        return {key: part for key, part in parts if part is not None}
    if isinstance(tree, list | tuple):
        states = [*state, *[{}] * (len(tree) - len(state))]
        padded = [*tree, *[{}] * (len(state) - len(tree))]
        parts = map(_existing, padded, states)
        return type(tree)({} if part is None else part for part in parts)
    return None if isinstance(tree, mx.array) and tree.size == 0 else tree


def _covers(state: Any, tree: Any) -> bool:
    """Whether every array of a tree has its state."""
    if isinstance(tree, dict):
        return all(k in state and _covers(state[k], v) for k, v in tree.items())
    if isinstance(tree, list | tuple):
        return len(tree) <= len(state) and all(map(_covers, state, tree))
    return True


class SGD(_Joinable, _mlx.SGD):
    __doc__ = _mlx.SGD.__doc__
    __signature__ = inspect.signature(_mlx.SGD)


class RMSprop(_Joinable, _mlx.RMSprop):
    __doc__ = _mlx.RMSprop.__doc__
    __signature__ = inspect.signature(_mlx.RMSprop)


class Adagrad(_Joinable, _mlx.Adagrad):
    __doc__ = _mlx.Adagrad.__doc__
    __signature__ = inspect.signature(_mlx.Adagrad)


class Adafactor(_Joinable, _mlx.Adafactor):
    __doc__ = _mlx.Adafactor.__doc__
    __signature__ = inspect.signature(_mlx.Adafactor)


class AdaDelta(_Joinable, _mlx.AdaDelta):
    __doc__ = _mlx.AdaDelta.__doc__
    __signature__ = inspect.signature(_mlx.AdaDelta)


class Adam(_Joinable, _mlx.Adam):
    __doc__ = _mlx.Adam.__doc__
    __signature__ = inspect.signature(_mlx.Adam)


class AdamW(_Joinable, _mlx.AdamW):
    __doc__ = _mlx.AdamW.__doc__
    __signature__ = inspect.signature(_mlx.AdamW)


class Adamax(_Joinable, _mlx.Adamax):
    __doc__ = _mlx.Adamax.__doc__
    __signature__ = inspect.signature(_mlx.Adamax)


class Lion(_Joinable, _mlx.Lion):
    __doc__ = _mlx.Lion.__doc__
    __signature__ = inspect.signature(_mlx.Lion)


class Muon(_Joinable, _mlx.Muon):
    __doc__ = _mlx.Muon.__doc__
    __signature__ = inspect.signature(_mlx.Muon)
