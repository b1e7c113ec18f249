"""Layers that learn their input channels from the first input, and ways to show it."""

from __future__ import annotations

from collections.abc import Callable
import functools
import threading
from typing import Any

from lucid._types import FLOAT_DTYPES, Tensor
from lucid.creation import get_rng_state, set_rng_state
from lucid.nn._first_call import (
    Transaction,
    creating_weights,
    dry_run,
    is_creating,
    is_placeholder,
    keep_unchanged,
)
from lucid.nn._members import named_arrays, named_tree
from lucid.nn._module import Module
from lucid.nn._state_dict import fits
from lucid.nn._uninitialized import uninitialized_names
import mlx.core as mx
import mlx.nn

_CREATING = threading.RLock()


class LazyModule(Module):
    """A layer whose parameters are created by its first call, or by a state dict.

    Until then each parameter is None to a reader, while MLX's dict holds an empty array
    of its dtype: what MLX does to that (freeze, cast, update) is honored afterwards.
    Subclasses bring the four methods declared below.
    """

    parameter_shapes: Callable[[], dict[str, tuple[int | None, ...]]]
    """The shape of each parameter, None where it depends on the input."""
    sizes_from: Callable[[dict[str, Tensor]], dict[str, int] | None]
    """Attributes to set, read off these parameters; None if they do not tell."""
    reset_parameters: Callable[[], None]
    """Draw every parameter."""
    _allocate: Callable[[], None]
    """Give every parameter its shape, for `reset_parameters` to fill."""

    _applied: tuple[Callable[[LazyModule], Any], ...] = ()

    def has_uninitialized_params(self) -> bool:
        """Whether the parameters are yet to be created."""
        return bool(uninitialized_names(self))

    def materialize_from(self, values: dict[str, Tensor]) -> None:
        """Take these parameters, of checked shapes, and create the rest if they tell.

        What they do not tell is created by the first call; they are kept for it.
        """
        sizes = self.sizes_from(values)
        with Transaction():
            if sizes is None:
                for name, value in values.items():
                    dict.__setitem__(self, name, value)
            else:
                self._create(sizes, values)

    def _defer(self, dtype: mx.Dtype) -> None:
        """Declare the parameters that the first call will create."""
        shapes = self.parameter_shapes()
        for name in shapes:
            dict.__setitem__(self, name, mx.zeros((0,), dtype))
        self._no_grad.uninitialized = frozenset(shapes)
        self._no_grad.layer = repr(self)
        # In MLX's dict, and so a placeholder in a trace that captured this layer; the
        # underscore keeps it out of parameters().
        self._token = mx.zeros((0,))

    def apply_later(self, fn: Callable[[LazyModule], Any]) -> None:
        """Have `fn` called with this layer as soon as its parameters exist."""
        self._applied = (*self._applied, fn)

    def _create(self, sizes: dict[str, int], values: dict[str, Tensor]) -> None:
        """Draw the parameters, but for those whose values are there already."""
        with _CREATING:
            names = uninitialized_names(self)
            if names:  # else another thread was faster
                kept = {name: self[name] for name in names if self[name].size}
                with creating_weights(self, self._token):
                    self._draw(sizes, kept | values, names)

    def _draw(
        self, sizes: dict[str, int], values: dict[str, Tensor], names: frozenset[str]
    ) -> None:
        self._in_trace = is_placeholder(self._token)
        self._created, self._sizes = names, tuple(sizes)
        for name, size in sizes.items():
            setattr(self, name, size)
        if values.keys() != names:
            self._allocate()
            self.reset_parameters()
        for name, value in values.items():
            dict.__setitem__(self, name, mx.array(value))
        for fn in self._applied:
            fn(self)
        dict.update(self, values)  # a state dict outranks what was applied before
        if not self._in_trace:
            self._applied = ()
        # Last: until then, other threads see a layer that has no weights yet.
        self._no_grad = self._no_grad.initialized()

    def _check_left_trace(self) -> None:
        """After a first call inside mx.compile: whether its weights came out of it.

        They do not when the function was compiled with the model as `inputs=` alone;
        then the layer is lazy again.
        """
        if is_placeholder(self._token):
            return  # in a later trace, which captured the layer too
        self._in_trace = False
        if not any(is_placeholder(self[name]) for name in self._created):
            self._applied = ()
            return
        dtype = self["weight"].dtype
        for name in self._sizes:
            setattr(self, name, None)
        self._defer(dtype)
        raise RuntimeError(
            f"the weights of {self!r} were created in a function compiled without the "
            "model in outputs=, and were lost with it; the layer is lazy again. "
            "Capture model.state as inputs= and outputs=."
        )

    def __getattr__(self, name: str) -> Any:
        no_grad = self.__dict__.get("_no_grad")
        if name in getattr(no_grad, "uninitialized", ()) and not is_creating(self):
            return None
        return super().__getattr__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        # Where MLX's update, load_weights and set_dtype put their arrays.
        no_grad = self.__dict__.get("_no_grad")
        waiting = name in getattr(no_grad, "uninitialized", ())
        waiting = waiting and not is_creating(self)
        is_empty = isinstance(value, mx.array) and value.size == 0
        if is_empty and not waiting and name in self.__dict__.get("_created", ()):
            raise ValueError(
                f"`{name}` of {self!r} cannot become empty: an optimizer was given "
                "init(model.parameters()) before this weight existed. Use those "
                "of lucid.optim, or init after lucid.nn.materialize."
            )
        if is_empty or not waiting or not isinstance(value, mx.array):
            dict.__setitem__(self, name, value)
            return
        expected = self.parameter_shapes()[name]
        if not fits(value.shape, expected):
            raise ValueError(
                f"`{name}` of {self!r} cannot have shape {value.shape}: expected "
                f"{expected}, None for any length."
            )
        # Where an eager layer draws nothing, a lazy one leaves the random state alone.
        key = get_rng_state()
        self.materialize_from({name: value})
        set_rng_state(key)


def has_uninitialized_params(model: mlx.nn.Module) -> bool:
    """Whether a lazy layer somewhere in the model has yet to create its parameters."""
    return any(uninitialized_names(module) for _, module in named_tree(model))


def materialize(model: mlx.nn.Module, *inputs: Any, **kwargs: Any) -> mlx.nn.Module:
    """Create the parameters of every lazy layer that a call would reach.

    The model is called without evaluating anything. Buffers and the training mode stay
    as they are, and the random state advances by the weights' draws alone. If the call
    fails, every layer stays lazy.

    Args:
        model: a module of Lucid's or MLX's.
        inputs: the call's arguments: arrays, or shapes standing for arrays of the
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
    with dry_run():
        keep_unchanged(model)
        call_with_shapes(model, inputs, kwargs)
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
        raise ValueError(f"an input's shape (={tuple(value)}) must not be negative.")
    dtypes = (array.dtype for _, _, _, array in named_arrays(model))
    dtype = next((dtype for dtype in dtypes if dtype in FLOAT_DTYPES), mx.float32)
    return mx.zeros(tuple(value), dtype)


def value_and_grad(
    model: mlx.nn.Module, fn: Callable[..., Any]
) -> Callable[..., tuple[Any, Any]]:
    """`mlx.nn.value_and_grad` that takes models with lazy layers.

    Where the model has layers without weights, `fn` first runs once without evaluating
    anything, as `materialize` does, so that the first step has every gradient and
    moves buffers and the random state once. (What `fn` changes outside Lucid's modules,
    it changes twice then.)

    Args:
        model: the model whose trainable parameters to differentiate with respect to.
        fn: a function of any arguments that returns a scalar, or a tuple that starts
            with one.

    Returns:
        A function of the same arguments that returns `fn`'s value and MLX's nested dict
        of gradients.

    Raises:
        UninitializedParameterError: when called, if `fn` leaves layers unused and so
            without weights.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> conv = nn.LazyConv3d(8, 3)
        >>> step = nn.value_and_grad(conv, lambda x: conv(x).square().mean())
        >>> loss, grads = step(lucid.ones(1, 4, 8, 8, 8))
        >>> grads["weight"].shape
        (8, 4, 3, 3, 3)
    """
    check_module(model)
    differentiate = mlx.nn.value_and_grad(model, fn)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        if has_uninitialized_params(model):
            with dry_run():
                keep_unchanged(model)
                fn(*args, **kwargs)
        return differentiate(*args, **kwargs)

    return wrapped
