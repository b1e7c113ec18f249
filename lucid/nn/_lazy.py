"""LazyModule: a layer that waits for its first input to know its sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
import io
import itertools
import threading
from typing import TYPE_CHECKING, Any

from lucid._types import DTYPES, Tensor, dtype_name
from lucid.creation import get_rng_state, set_rng_state
from lucid.nn import _first_call
from lucid.nn._first_call import create_from, is_placeholder
from lucid.nn._layer import Layer
from lucid.nn._state_dict import fits
from lucid.nn._uninitialized import UninitializedParameterError, uninitialized_names
import mlx.core as mx

if TYPE_CHECKING:
    from typing_extensions import Self


class _Here(threading.local):
    """Numbers threads; the system's own numbers are given again."""

    numbers = itertools.count()

    def __init__(self) -> None:
        self.number = next(self.numbers)


_here = _Here()


class LazyModule(Layer):
    """A layer whose arrays are created by its first call, or by a state dict.

    Until then each is None to a reader, while MLX's dict holds an empty array of its
    dtype: what MLX does to that (freeze, cast, update) is honored afterwards. How a
    lazy layer is written is told at the head of `lucid/nn/_layer.py`.
    """

    _waiting = False
    _lost: dict[str, Any] | None = None

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer is yet to be created."""
        return bool(uninitialized_names(self))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer computes; the first time, create its arrays for that."""
        if self._waiting:
            again = partial(LazyModule.forward, self, *args, **kwargs)
            _first_call.reach(self, again, partial(self.infer, *args, **kwargs))
        elif self._lost is not None:
            self._check_left_trace()
        return super().forward(*args, **kwargs)

    def reset_parameters(self) -> None:
        """Give every array its first value anew, or at the first call."""
        if not self._waiting:
            super().reset_parameters()

    def apply_later(self, fn: Callable[[LazyModule], Any]) -> None:
        """Have `fn` called with this layer as soon as its arrays exist."""
        self._asked = (*self._asked, fn)

    def _size(self, name: str, value: Any) -> None:
        return None

    def _start(self) -> None:
        names = [name for name in self.parameter_shapes() if name in self]
        self._no_grad.uninitialized = frozenset(names)
        self._no_grad.layer = repr(self)
        self._dtypes = tuple((name, dtype_name(self[name].dtype)) for name in names)
        self._thread = _here.number
        self._asked: tuple[Any, ...] = ()  # functions and casts, to do once drawn
        # In MLX's dict, and so a placeholder in a trace that captured this layer; the
        # underscore keeps it out of parameters().
        self._token = mx.array([])
        self._waiting = True
        _first_call.new_era()

    # What follows turns a copy of the layer into what the layer will be.

    def drawn(
        self, sizes: Mapping[str, int], values: Mapping[str, Tensor] | None = None
    ) -> Self:
        """Create the arrays for these sizes, and draw those that have no value yet."""
        names = uninitialized_names(self)
        for name in names:
            if self[name].size == 0 and _is_differentiated(self[name]):
                what = "a gradient with respect to parameters()"
                raise UninitializedParameterError(what, [repr(self)])
        values = {n: self[n] for n in names if self[n].size} | dict(values or {})
        before = dict(vars(self))
        self._waiting, self._asked = False, ()
        self._no_grad = self._no_grad.initialized()
        for name, size in sizes.items():
            setattr(self, name, size)
        if values.keys() != names or any(map(callable, before["_asked"])):
            self._check_trace()
            for name, dtype in self._dtypes:
                if name in names:
                    dict.__setitem__(self, name, mx.array([], DTYPES[dtype]))
            super()._start()
            for step in before["_asked"]:
                self._do(step)
        dict.update(self, values)  # a state dict outranks what was asked before
        if is_placeholder(self._token):
            self.__dict__["_lost"] = before
        return self

    def taking(self, values: Mapping[str, Tensor]) -> Self:
        """Take these arrays, of checked shapes; create the rest if they tell sizes."""
        sizes = self.sizes_from(values)
        if sizes is not None:
            return self.drawn(sizes, values)
        dict.update(self, values)
        return self

    def evaluate_for_other_threads(self) -> None:
        """Evaluate the arrays, unless the thread is the one that built the layer.

        MLX evaluates no array on one thread that another left unevaluated.
        """
        if self._thread != _here.number:
            for name, _ in self._dtypes:
                is_placeholder(self.get(name, self._token))

    def _do(self, step: Any) -> None:
        if callable(step):
            step(self)
        elif step[0] in self:
            name, dtype = step
            dict.__setitem__(self, name, self[name].astype(DTYPES[dtype]))

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
        if not any(is_placeholder(self[name]) for name in names):
            return
        for name in names:
            dict.__setitem__(self, name, mx.array([], self[name].dtype))
        vars(self).update(lost)
        _first_call.new_era()
        raise RuntimeError(
            f"the weights of {self!r} were created in a function compiled without the "
            "model in outputs=, and were lost with it; the layer is lazy again. "
            "Capture model.state as inputs= and outputs=."
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
        waiting = name in uninitialized_names(self)
        if not isinstance(value, mx.array) or not (waiting or value.size == 0):
            dict.__setitem__(self, name, value)
        elif value.size:
            self._set_early(name, value)
        elif waiting:
            is_placeholder(value)  # evaluates it, for other threads
            if name in self and value.dtype != self[name].dtype:
                self._asked = (*self._asked, (name, dtype_name(value.dtype)))
            dict.__setitem__(self, name, value)
        elif "_dtypes" in vars(self) and name in dict(self._dtypes):
            raise ValueError(
                f"`{name}` of {self!r} cannot become empty: an optimizer was given "
                "init(model.parameters()) before this weight existed. Use those "
                "of lucid.optim, or init after lucid.nn.materialize."
            )
        else:
            dict.__setitem__(self, name, value)

    def _set_early(self, name: str, value: Tensor) -> None:
        expected = self.parameter_shapes()[name]
        if not fits(value.shape, expected):
            raise ValueError(
                f"`{name}` of {self!r} cannot have shape {value.shape}: expected "
                f"{expected}, None for any length."
            )
        # Where an eager layer draws nothing, a lazy one leaves the random state alone.
        key = get_rng_state()
        create_from([(self, {name: value})])
        set_rng_state(key)


def _is_differentiated(array: Tensor) -> bool:
    """Whether a gradient with respect to this array is being taken.

    MLX keeps the history of what is made of it then, even of evaluated arrays.
    """
    made = array[None]
    try:
        mx.eval(made)
    except ValueError:
        made = array  # a placeholder of mx.compile, which has no history of its own
    except RuntimeError:
        return False  # of a trace that has ended
    history = io.StringIO()
    mx.export_to_dot(history, made)
    return "label" in history.getvalue()
