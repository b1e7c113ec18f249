"""LazyModule: a layer that waits for its first input to know its sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
import threading
from typing import Any

from lucid._types import DTYPES, Tensor, dtype_name
from lucid.creation import get_rng_state, set_rng_state
from lucid.nn import _first_call
from lucid.nn._first_call import create_from
from lucid.nn._layer import Layer
from lucid.nn._state_dict import fits
from lucid.nn._traces import is_differentiated, is_placeholder
from lucid.nn._uninitialized import UninitializedParameterError, uninitialized_names
import mlx.core as mx


class LazyModule(Layer):
    """A layer whose arrays are created by its first call, or by a state dict.

    Until then, each attribute is None, and MLX's dict holds an empty array of its
    dtype: what MLX does to that (freeze, cast, update) is applied afterwards. The
    docstring of `lucid/nn/_layer.py` says how to write a lazy layer.
    """

    _waiting = False
    _lost: dict[str, Any] | None = None  # attributes before a first call in a trace

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer is yet to be created."""
        return bool(uninitialized_names(self))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer; at the first call, create its arrays first."""
        if self._waiting:
            if _first_call.in_gradient():
                self.infer(*args, **kwargs)  # what it refuses is the caller's error
                raise RuntimeError(
                    f"{self!r} was reached in a step whose trial did not reach it, as "
                    "happens where values or random numbers decide, and would get no "
                    "gradient. Call lucid.nn.materialize(layer, input_shape) before."
                )
            infer = partial(self.infer, *args, **kwargs)
            _first_call.draw(self, lambda: self._waiting and self._create(infer()))
        elif self._lost is not None:
            self._check_left_trace()
        return super().forward(*args, **kwargs)

    def reset_parameters(self) -> None:
        """Reset every array to its initial value, or do so at the first call."""
        if not self._waiting:
            super().reset_parameters()

    def apply_later(self, fn: Callable[[LazyModule], Any]) -> None:
        """Have `fn` called with this layer as soon as its arrays exist."""
        self._asked = (*self._asked, fn)

    def take(self, values: Mapping[str, Tensor]) -> None:
        """Take arrays of checked shapes; create the rest if these determine the sizes.

        If they do not, they are kept for the first call.
        """
        sizes = self.sizes_from(values)
        if sizes is None:
            dict.update(self, values)
        else:
            self._create(sizes, values)

    def _size(self, name: str, value: Any) -> None:
        return None

    def _start(self) -> None:
        names = [name for name in self.parameter_shapes() if name in self]
        self._no_grad.uninitialized = frozenset(names)
        self._no_grad.layer = repr(self)
        vars(self)["_declared"] = {name: self[name] for name in names}
        self._asked: tuple[Callable[[LazyModule], Any], ...] = ()  # once drawn
        self._thread = threading.get_native_id()
        # In MLX's dict, and so a placeholder in a trace that captured this layer; the
        # underscore keeps it out of parameters().
        self._token = mx.array([])
        self._waiting = True
        _first_call.new_era()

    def _create(
        self, sizes: Mapping[str, int], values: Mapping[str, Tensor] | None = None
    ) -> None:
        """Create the arrays for these sizes, and draw those that have no value yet."""
        names, before = uninitialized_names(self), dict(vars(self))
        if any(self[n].size == 0 and is_differentiated(self[n]) for n in names):
            what = "a gradient with respect to parameters()"
            raise UninitializedParameterError(what, [repr(self)])
        values = {n: self[n] for n in names if self[n].size} | dict(values or {})
        self._waiting, self._asked = False, ()
        self._no_grad = self._no_grad.initialized()
        for name, size in sizes.items():
            setattr(self, name, size)
        self._check_trace()
        key = get_rng_state()
        dict.update(self, {name: self._declared[name] for name in names})
        super()._start()
        for step in before["_asked"]:
            step(self)
        if values.keys() == names:
            set_rng_state(key)  # nothing that was drawn is kept
        dict.update(self, values)
        if is_placeholder(self._token):
            vars(self)["_lost"] = before

    def _check_trace(self) -> None:
        if is_placeholder(get_rng_state()) and not is_placeholder(self._token):
            raise RuntimeError(
                f"the first call of {self!r} is inside an mx.compile that captures "
                "mx.random.state but not the model, so that its weights would be drawn "
                "anew at every call: capture model.state too (inputs= and outputs=), "
                "or call lucid.nn.materialize(model, input_shape) first."
            )

    def _check_left_trace(self) -> None:
        """After a first call inside mx.compile: whether its weights came out of it.

        They do not when the function was compiled with the model as `inputs=` alone;
        then the layer is lazy again.
        """
        if is_placeholder(self._token):
            return  # in a later trace, which captured the layer too
        lost, self._lost = self._lost or {}, None
        names = lost["_no_grad"].uninitialized
        if any(is_placeholder(self[name]) for name in names):
            for name in names:
                dict.__setitem__(self, name, mx.array([], self[name].dtype))
            vars(self).update(lost)
            _first_call.new_era()
            raise RuntimeError(
                f"the weights of {self!r} were created in a function compiled without "
                "the model in outputs=, and were lost with it; the layer is lazy "
                "again. Capture model.state as inputs= and outputs=."
            )

    def __getattr__(self, name: str) -> Any:
        if name in uninitialized_names(self):
            return None
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if value is None and name in uninitialized_names(self):
            if None in self.parameter_shapes()[name]:
                raise ValueError(f"`{name}` of {self!r} cannot be None.")
            self._no_grad.uninitialized -= {name}
        super().__setattr__(name, value)

    def __setitem__(self, name: str, value: Any) -> None:
        # Where MLX's update, load_weights and set_dtype put their arrays.
        is_waiting = name in uninitialized_names(self)
        is_empty = isinstance(value, mx.array) and value.size == 0
        if is_waiting and is_empty:
            if name in self and value.dtype != self[name].dtype:
                self.apply_later(
                    partial(_cast, name=name, dtype=dtype_name(value.dtype))
                )
        elif is_waiting and isinstance(value, mx.array):
            expected = self.parameter_shapes()[name]
            if not fits(value.shape, expected):
                raise ValueError(
                    f"`{name}` of {self!r} cannot have shape {value.shape}: expected "
                    f"{expected}, None for any length."
                )
            key = get_rng_state()
            create_from([(self, {name: value})])
            set_rng_state(key)  # where an eager layer draws nothing
            return
        elif is_empty and name in vars(self).get("_declared", ()):
            raise ValueError(
                f"`{name}` of {self!r} cannot become empty: an optimizer was given "
                "init(model.parameters()) before this weight existed. Use those "
                "of lucid.optim, or init after lucid.nn.materialize."
            )
        dict.__setitem__(self, name, value)


def _cast(layer: LazyModule, name: str, dtype: str) -> None:
    if name in layer:
        dict.__setitem__(layer, name, layer[name].astype(DTYPES[dtype]))
