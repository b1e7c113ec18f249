"""MLX's optimizers and schedules for models with lazy layers, and a few more.

Each optimizer is MLX's, with one difference: a parameter that did not exist when
`init(model.parameters())` was called, or at an earlier update, gets its state at the
first update that has a gradient for it. MLX's own would fail there.

Gradients are clipped before the update, by the norm of all of them together:

    >>> import lucid
    >>> from lucid import nn, optim
    >>> model, optimizer = nn.Conv3d(1, 1, 3), optim.SGD(1e-2, momentum=0.99)
    >>> step = nn.value_and_grad(model, lambda x: model(x).square().mean())
    >>> loss, gradients = step(lucid.ones(1, 1, 4, 4, 4))
    >>> gradients, norm = optim.clip_grad_norm(gradients, max_norm=12)
    >>> optimizer.update(model, gradients)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import inspect
from typing import TYPE_CHECKING, Any

from lucid._missing import missing_optimizer
from lucid._types import finite, flag, integer, real, shown
from lucid.averaging import ExponentialMovingAverage
from lucid.nn._materialize import check_module
from lucid.schedules import ReduceLROnPlateau, polynomial_decay
import mlx.core as mx
import mlx.nn
import mlx.optimizers as _mlx
from mlx.optimizers import (
    Optimizer,
    cosine_decay,
    exponential_decay,
    join_schedules,
    linear_schedule,
    step_decay,
)
from mlx.utils import tree_flatten, tree_map, tree_map_with_path

__all__ = [
    "SGD",
    "AdaDelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "ExponentialMovingAverage",
    "Lion",
    "MultiOptimizer",
    "Muon",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "clip_grad_norm",
    "cosine_decay",
    "exponential_decay",
    "join_schedules",
    "linear_schedule",
    "polynomial_decay",
    "step_decay",
]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # to a type checker, every name would be there

    def __getattr__(name):
        raise AttributeError(missing_optimizer(name))


# What PyTorch's optimizers are given first: parameters, in one form or another.
_OF_PYTORCH = (dict, list, Iterator)


class _Joinable(Optimizer):
    """An optimizer that parameters may join later."""

    def __init__(self, *args: Any, **kwargs: Any):
        if "lr" in kwargs or isinstance(next(iter(args), None), _OF_PYTORCH):
            raise TypeError(
                f"{type(self).__name__} takes `learning_rate`, and no parameters: "
                "update(model, gradients) is given the model."
            )
        signature = inspect.signature(super().__init__)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            known = ", ".join(signature.parameters)
            raise TypeError(
                f"{type(self).__name__} {error}; it takes {known}."
            ) from None
        for name, value in bound.arguments.items():
            _check_option(name, value, signature.parameters[name].default)
        super().__init__(*args, **kwargs)

    def init(self, parameters: dict[str, Any]) -> None:
        super().init(_existing(parameters, self.state))

    def update(self, model: mlx.nn.Module, gradients: dict[str, Any]) -> None:
        """Replace the model's arrays by those after a step along the gradients."""
        check_module(model)  # a dict of parameters would take the step alone
        super().update(model, gradients)

    def apply_gradients(
        self, gradients: dict[str, Any], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        if not _covers(self.state, gradients):
            self.init(gradients)
        return super().apply_gradients(gradients, parameters)


class MultiOptimizer(_mlx.MultiOptimizer):
    """Groups of parameters, each with its own optimizer.

    A parameter goes to the first optimizer whose filter returns True for it, and to the
    last one if none does. Names are those of `tree_flatten(model.parameters())`: layers
    of a `Sequential` or `ModuleList` are called `encoder.layers.0.weight`.

    Args:
        optimizers: one for each group, and the last for the rest.
        filters: functions of (name, array), for all optimizers but the last. In an
            update, the array is the gradient.

    Example:
        >>> # no weight decay for biases and the scales of norms
        >>> from lucid import nn, optim
        >>> optimizer = optim.MultiOptimizer(
        ...     [optim.AdamW(1e-3, weight_decay=0.0), optim.AdamW(1e-3)],
        ...     [lambda name, array: array.ndim == 1],
        ... )
        >>> # a pretrained encoder learns slowly
        >>> optimizer = optim.MultiOptimizer(
        ...     [optim.AdamW(1e-5), optim.AdamW(1e-3)],
        ...     [lambda name, array: name.startswith("encoder.")],
        ... )
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        filters: Sequence[Callable[[str, mx.array], bool]] = (),
    ):
        super().__init__(list(optimizers), list(filters))

    def init(self, parameters: dict[str, Any]) -> None:
        super().init(_existing(parameters, {}))

    def update(self, model: mlx.nn.Module, gradients: dict[str, Any]) -> None:
        check_module(model)
        super().update(model, gradients)

    def apply_gradients(
        self, gradients: dict[str, Any], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        updated: dict[str, mx.array] = {}
        parts = self._split_dictionary(gradients)
        for optimizer, part in zip(self.optimizers, parts, strict=True):
            updated |= dict(tree_flatten(optimizer.apply_gradients(part, parameters)))
        # MLX would merge the parts, which fails where their lists differ in length.
        return tree_map_with_path(lambda name, _: updated[name], gradients)


def clip_grad_norm(grads: Any, max_norm: float) -> tuple[Any, mx.array]:
    """Scale gradients down to a norm of at most `max_norm`; MLX's function.

    Half types are summed in float32, where MLX sums bfloat16 in itself.

    Returns:
        The gradients, and the norm that they had.
    """
    if not isinstance(max_norm, mx.array):
        max_norm = real("max_norm", max_norm)
    wide = tree_map(lambda g: g.astype(mx.float32) if _is_half(g) else g, grads)
    clipped, norm = _mlx.clip_grad_norm(wide, max_norm)
    narrow = tree_map(
        lambda g, c: c.astype(g.dtype) if _is_half(g) else c, grads, clipped
    )
    return narrow, norm


def _is_half(array: mx.array) -> bool:
    return array.dtype in (mx.float16, mx.bfloat16)


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
