"""MLX's optimizers and schedules, at ease with lazy layers.

Each optimizer is MLX's, with one difference: `init(model.parameters())` before the
first call skips the weights that lazy layers have yet to create, and the first update
gives them their state. MLX's own would fail there.
"""

from __future__ import annotations

import inspect
from typing import Any

from lucid._types import finite, flag, integer, shown
import mlx.core as mx
import mlx.optimizers as _mlx
from mlx.optimizers import (
    MultiOptimizer,
    Optimizer,
    clip_grad_norm,
    cosine_decay,
    exponential_decay,
    join_schedules,
    linear_schedule,
    step_decay,
)

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


class _InitsLater(Optimizer):
    """Gives state to what exists, and has MLX call again for the rest."""

    def __init__(self, *args: Any, **kwargs: Any):
        signature = inspect.signature(super().__init__)
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            _check_option(name, value, signature.parameters[name].default)
        super().__init__(*args, **kwargs)

    def init(self, parameters: dict[str, Any]) -> None:
        existing, whole = _without_empty(parameters)
        super().init(existing)
        self._initialized = whole


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


def _without_empty(tree: Any) -> tuple[Any, bool]:
    """A tree without its empty arrays, and whether there were none."""
    if isinstance(tree, dict):
        parts = {key: _without_empty(value) for key, value in tree.items()}
        kept = {k: part for k, (part, _) in parts.items() if part is not None}
        return kept, all(whole for _, whole in parts.values())
    if isinstance(tree, list | tuple):
        parts = [_without_empty(value) for value in tree]
        return type(tree)(part for part, _ in parts), all(whole for _, whole in parts)
    if isinstance(tree, mx.array) and tree.size == 0:
        return None, False
    return tree, True


class SGD(_InitsLater, _mlx.SGD):
    __doc__ = _mlx.SGD.__doc__
    __signature__ = inspect.signature(_mlx.SGD)


class RMSprop(_InitsLater, _mlx.RMSprop):
    __doc__ = _mlx.RMSprop.__doc__
    __signature__ = inspect.signature(_mlx.RMSprop)


class Adagrad(_InitsLater, _mlx.Adagrad):
    __doc__ = _mlx.Adagrad.__doc__
    __signature__ = inspect.signature(_mlx.Adagrad)


class Adafactor(_InitsLater, _mlx.Adafactor):
    __doc__ = _mlx.Adafactor.__doc__
    __signature__ = inspect.signature(_mlx.Adafactor)


class AdaDelta(_InitsLater, _mlx.AdaDelta):
    __doc__ = _mlx.AdaDelta.__doc__
    __signature__ = inspect.signature(_mlx.AdaDelta)


class Adam(_InitsLater, _mlx.Adam):
    __doc__ = _mlx.Adam.__doc__
    __signature__ = inspect.signature(_mlx.Adam)


class AdamW(_InitsLater, _mlx.AdamW):
    __doc__ = _mlx.AdamW.__doc__
    __signature__ = inspect.signature(_mlx.AdamW)


class Adamax(_InitsLater, _mlx.Adamax):
    __doc__ = _mlx.Adamax.__doc__
    __signature__ = inspect.signature(_mlx.Adamax)


class Lion(_InitsLater, _mlx.Lion):
    __doc__ = _mlx.Lion.__doc__
    __signature__ = inspect.signature(_mlx.Lion)


class Muon(_InitsLater, _mlx.Muon):
    __doc__ = _mlx.Muon.__doc__
    __signature__ = inspect.signature(_mlx.Muon)
