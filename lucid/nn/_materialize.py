"""Models with lazy layers: creating their parameters, and training from step one."""

from __future__ import annotations

from collections.abc import Callable
import functools
from typing import Any, TypeVar
import warnings

from lucid._types import FLOAT_DTYPES, check_allocatable, shown
from lucid.nn import _first_call
from lucid.nn._members import named_arrays, named_tree
from lucid.nn._uninitialized import (
    UninitializedParameterError,
    uninitialized_layers,
    uninitialized_names,
)
import mlx.core as mx
import mlx.nn
from mlx.utils import tree_flatten
import numpy as np

ModuleT = TypeVar("ModuleT", bound=mlx.nn.Module)


def has_uninitialized_params(model: mlx.nn.Module) -> bool:
    """Whether the model contains a lazy layer that has not created its parameters."""
    check_module(model)
    return any(uninitialized_names(module) for _, module in named_tree(model))


def materialize(model: ModuleT, *inputs: Any, **kwargs: Any) -> ModuleT:
    """Create the parameters of every lazy layer that a call would reach.

    The model is called without evaluating anything. Buffers and the training mode stay
    as they are, and the random state advances by the weights' draws alone. If the call
    fails, every layer stays lazy.

    Args:
        model: a module of Lucid's or MLX's.
        inputs: the call's arguments: arrays, or shapes in place of arrays of the
            model's dtype.
        kwargs: likewise, by keyword.

    Returns:
        The model.

    Example:
        >>> import lucid.nn as nn
        >>> conv = nn.materialize(nn.LazyConv3d(8, 3), (1, 4, 16, 16, 16))
        >>> conv.weight.shape
        (8, 4, 3, 3, 3)
    """
    check_module(model)
    _first_call.create(lambda: call_with_shapes(model, inputs, kwargs), model)
    return model


def check_module(model: Any) -> None:
    """Refuse what is no module, by name."""
    if not isinstance(model, mlx.nn.Module):
        raise TypeError(f"`model` must be a module, got {type(model).__name__}.")


def call_with_shapes(
    model: mlx.nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a model, shapes standing for zeros of its dtype."""
    return model(
        *(_as_input(model, value) for value in inputs),
        **{name: _as_input(model, value) for name, value in kwargs.items()},
    )


def _as_input(model: mlx.nn.Module, value: Any) -> Any:
    is_shape = isinstance(value, tuple | list) and all(type(n) is int for n in value)
    if not is_shape or not value:
        return value
    if min(value) < 0:
        raise ValueError(f"`inputs`: a shape (={shown(value)}) must not be negative.")
    check_allocatable("`inputs`", tuple(value), itemsize=4)
    dtypes = (array.dtype for _, _, _, array in named_arrays(model))
    dtype = next((dtype for dtype in dtypes if dtype in FLOAT_DTYPES), mx.float32)
    return mx.zeros(tuple(value), dtype)


def value_and_grad(
    model: mlx.nn.Module, fn: Callable[..., Any]
) -> Callable[..., tuple[Any, Any]]:
    """`mlx.nn.value_and_grad` that takes models with lazy layers.

    Where the model has layers without weights, `fn` first runs once without evaluating
    anything, as `materialize` does, so that the first step has every gradient and
    moves buffers and the random state once. (Changes that `fn` makes outside Lucid's
    modules are made twice then.)

    A layer that `fn` does not reach is not trained, and a warning names it, once. It
    joins at the first step that reaches it.

    Args:
        model: the model whose trainable parameters to differentiate with respect to.
        fn: a function of any arguments that returns a scalar, or a tuple that starts
            with one.

    Returns:
        A function of the same arguments that returns `fn`'s value and MLX's nested dict
        of gradients.

    Raises:
        UninitializedParameterError: when called, if `fn` reaches no parameter at all.
        ValueError: when called, if `fn` does not return a scalar, or all is frozen.
        TypeError: when called, if `fn` returns a NumPy number.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> conv = nn.LazyConv3d(8, 3)
        >>> step = nn.value_and_grad(conv, lambda x: conv(x).square().mean())
        >>> loss, grads = step(lucid.ones(1, 4, 8, 8, 8))
        >>> grads["weight"].shape
        (8, 4, 3, 3, 3)
    """
    check_module(model)
    loss_of = _scalar(fn)
    differentiate = _differentiated(model, loss_of)
    warned: set[str] = set()

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if not _first_call.has_waiting(model):
            return differentiate(*args, **kwargs)
        with _first_call.LOCK:
            _first_call.create(functools.partial(loss_of, *args, **kwargs), model)
            _warn_of_unreached(model, warned)
            return _first_call.past_trial("gradient", differentiate, *args, **kwargs)

    return wrapped


def _scalar(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, which has to return a loss of no axes; MLX's error does not say so."""

    @functools.wraps(fn)
    def checked(*args: Any, **kwargs: Any) -> Any:
        value = fn(*args, **kwargs)
        loss = value[0] if isinstance(value, tuple) and value else value
        if isinstance(loss, np.ndarray | np.generic):
            raise TypeError(
                f"the loss is a NumPy {loss.dtype}, which has no gradient: a NumPy "
                "number on the left of an array makes both NumPy's. Write "
                "loss * weight, or float(weight) * loss."
            )
        if isinstance(loss, mx.array) and loss.ndim:
            raise ValueError(
                f"the loss must be a scalar, got shape {loss.shape}: take its mean()."
            )
        return value

    return checked


def _differentiated(
    model: mlx.nn.Module, fn: Callable[..., Any]
) -> Callable[..., tuple[Any, Any]]:
    """MLX's `value_and_grad`, which has no words for a model of which all is frozen."""
    differentiate = mlx.nn.value_and_grad(model, fn)

    def differentiated(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        try:
            return differentiate(*args, **kwargs)
        except ValueError as error:
            if tree_flatten(model.trainable_parameters()):
                raise
            raise ValueError(
                "`model` has nothing to train: it has no parameters, or all are frozen."
            ) from error

    return differentiated


def _warn_of_unreached(model: mlx.nn.Module, warned: set[str]) -> None:
    """Name the layers that a step does not train, each once."""
    layers = uninitialized_layers(model, trained_only=True)
    trained = _first_call.past_trial("gradient", model.trainable_parameters)
    if layers and not tree_flatten(trained):
        raise UninitializedParameterError("training", layers)
    new = [name for name in layers if name not in warned]
    warned.update(new)
    if new:
        warnings.warn(
            f"{', '.join(new)}: not reached by this step, hence not created yet and "
            "not trained. The first step that reaches a layer creates and trains it: "
            "optimizers of lucid.optim take it then, those of mlx.optimizers need "
            "optimizer.init(model.trainable_parameters()) before its first update.",
            stacklevel=3,
        )
