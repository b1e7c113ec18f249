"""A first call in three steps: try, draw, adopt.

*Try*: the call runs once, unevaluated, on copies of all that its modules hold. *Draw*:
each lazy layer that it reaches is drawn, on a copy of the layer, from a random state
that nothing but weights moves. Then modules and random state are put back as they were,
and all the layers *adopt* their copies in one moment. What fails, fails before anything
has changed, so that there is nothing to undo. Then the call itself runs.

Whether code runs in a trial, or past one, is told by a context variable, which ends
with the call that it was set for, whatever interrupts that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import contextvars
import copy
import functools
import itertools
import secrets
import threading
from typing import Any

from lucid.creation import get_rng_state, set_rng_state
from lucid.nn._members import named_tree
import mlx.core as mx
import mlx.nn

Drawn = list[tuple[Any, Any]]  # lazy layers, each with the copy to adopt

# Held while something is left to create: of the threads that make one model's first
# call, the first creates its weights and the others find them.
LOCK = threading.RLock()

_trial = contextvars.ContextVar["_Trial | None"]("trial", default=None)
_past_trial = contextvars.ContextVar("past_trial", default="")
_eras = itertools.count(1)
era = next(_eras)


def new_era() -> None:
    """Have every model looked through once more: it may have another lazy layer."""
    global era
    era = next(_eras)


def in_trial() -> bool:
    """Whether a model runs for its lazy layers' sake alone; hooks do not run then."""
    return _trial.get() is not None


def in_gradient() -> bool:
    """Whether this is the differentiated part of `value_and_grad`: none can join."""
    return _past_trial.get() == "gradient"


def past_trial(what: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call `fn`, whose modules need no trial of their own: it has had one."""
    context = contextvars.copy_context()
    context.run(_past_trial.set, what)
    return context.run(fn, *args, **kwargs)


def has_waiting(model: mlx.nn.Module) -> bool:
    """Whether a lazy layer somewhere in the model has yet to see its first input."""
    return any(module.__dict__.get("_waiting") for _, module in named_tree(model))


def call(module: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a module's `forward`, once the lazy layers that it reaches are created."""
    trial = _trial.get()
    if trial is not None:
        trial.keep(module)
    elif not _past_trial.get():
        with LOCK:
            if has_waiting(module):
                create(module, functools.partial(module.forward, *args, **kwargs))
                return past_trial("call", module.forward, *args, **kwargs)
            module.__dict__["_complete_in"] = era
    return module.forward(*args, **kwargs)


def reach(layer: Any, forward: Callable[[], Any], infer: Callable[[], Any]) -> None:
    """Create a lazy layer whose `forward` was called; in a trial, for that alone."""
    trial = _trial.get()
    if trial is not None:
        trial.draw(layer, infer)
    elif in_gradient():
        infer()  # what it refuses is the caller's error
        raise RuntimeError(
            f"{layer!r} was reached in a step whose trial did not reach it, as happens "
            "where values or random numbers decide, and would get no gradient. Call "
            "lucid.nn.materialize(layer, input_shape) before."
        )
    else:
        create(layer, forward)


def create(model: mlx.nn.Module, call: Callable[[], Any]) -> None:
    """Create the parameters of every lazy layer that `call` reaches, or of none."""
    if in_trial():
        call()  # and leave its layers to that trial
    else:
        adopt(functools.partial(draw, model, call))


def draw(model: mlx.nn.Module, call: Callable[[], Any]) -> Drawn:
    """The lazy layers that `call` reaches, each with a drawn copy."""
    trial = try_out(model, call)
    set_rng_state(trial.weights_key)
    return trial.drawn


def create_from(given: Iterable[tuple[Any, Mapping[str, mx.array]]]) -> None:
    """Have each lazy layer take its values: all of them, or none."""
    adopt(lambda: [(layer, _copy_of(layer).taking(values)) for layer, values in given])


def adopt(draw: Callable[[], Drawn]) -> None:
    """Have each layer take its copy's contents; if anything fails before, none."""
    with LOCK:
        drawn, key = [], get_rng_state()
        try:
            drawn = draw()
            for _, twin in drawn:
                twin.evaluate_for_other_threads()
            _fill((layer, twin, twin.__dict__) for layer, twin in drawn)
        except BaseException:
            if all(layer.__dict__["_waiting"] for layer, _ in drawn):
                _go_back_to(key)
            raise


def try_out(model: mlx.nn.Module, call: Callable[[], Any]) -> _Trial:
    """Run `call` without consequences: all it moves is as before, however it ends."""
    trial, context = _Trial(), contextvars.copy_context()
    context.run(_trial.set, trial)
    try:
        try:
            trial.keep(model)
            context.run(call)
        finally:
            trial.put_back()
    except BaseException:
        trial.put_back()  # again: an interrupt may have stopped the first
        _go_back_to(trial.key)
        raise
    return trial


def _go_back_to(key: mx.array) -> None:
    """Set the random state after an error; reseed if that leaves an mx.compile.

    Of a trace that captured the random state, MLX would leave a placeholder there, at
    which every later draw fails.
    """
    set_rng_state(key)
    if is_placeholder(key):
        mx.random.seed(secrets.randbits(64))


class _Trial:
    """One run of a call on copies: what its modules held, and the layers drawn."""

    def __init__(self) -> None:
        self.key = self.weights_key = get_rng_state()
        self.drawn: Drawn = []
        self._held: dict[int, tuple[Any, dict[str, Any], dict[str, Any]]] = {}
        self._copies: dict[int, tuple[Any, Any]] = {}

    def keep(self, model: Any) -> None:
        """Remember what a module and all inside it hold, and put copies there."""
        if id(model) not in self._held:
            for _, module in named_tree(model):
                if id(module) not in self._held:
                    entries, attributes = dict(dict.items(module)), dict(vars(module))
                    self._held[id(module)] = module, entries, attributes
                    self._show(module, entries, attributes)

    def draw(self, layer: Any, infer: Callable[[], dict[str, int]]) -> None:
        """Draw a copy of a layer, and put a copy of that in the layer's place."""
        self.keep(layer)
        sizes, key = infer(), get_rng_state()
        set_rng_state(self.weights_key)
        try:
            twin = _copy_of(*self._held[id(layer)]).drawn(sizes)
            self.weights_key = get_rng_state()
        finally:
            set_rng_state(key)
        self.drawn.append((layer, twin))
        self._show(layer, dict(dict.items(twin)), dict(vars(twin)))

    def put_back(self) -> None:
        """Have every module hold what it held, and the random state be what it was."""
        _fill(self._held.values())
        set_rng_state(self.key)

    def _show(self, module: Any, entries: Any, attributes: Any) -> None:
        _fill([(module, self._copied(entries), self._copied(attributes))])

    def _copied(self, value: Any) -> Any:
        """What may change in place, anew: arrays and containers; tied ones once."""
        changeable = isinstance(value, mx.array | dict | list | set)
        if isinstance(value, mlx.nn.Module) or not changeable:
            return value
        if id(value) not in self._copies:
            # Of an array, this is another handle of the same numbers.
            twin: Any = copy.copy(value)
            if isinstance(value, dict):
                twin.update((key, self._copied(entry)) for key, entry in value.items())
            elif isinstance(value, list):
                twin[:] = map(self._copied, value)
            self._copies[id(value)] = value, twin
        return self._copies[id(value)][1]


def _fill(contents: Iterable[tuple[Any, dict[str, Any], dict[str, Any]]]) -> None:
    """Have each module hold these entries and attributes, and nothing else.

    One call into C does it: no signal and no other thread comes between.
    """
    old, new = [], []
    for module, entries, attributes in contents:
        old += module, vars(module)
        new += dict(dict.items(entries)), dict(attributes)
    list(itertools.chain(map(dict.clear, old), map(dict.update, old, new)))


def _copy_of(layer: Any, entries: Any = None, attributes: Any = None) -> Any:
    """Another module of the same contents."""
    kind: Any = type(layer)
    twin = kind.__new__(kind)
    _fill([(twin, entries or layer, attributes or vars(layer))])
    return twin


def is_placeholder(array: mx.array) -> bool:
    """Whether an array stands for an input of a function that mx.compile is tracing.

    Or did so in a trace that has ended: such an array has no value and never will. (One
    that another thread left unevaluated has one, though it cannot be had here.)
    """
    try:
        mx.eval(array)
    except ValueError:
        return True
    except RuntimeError as error:
        return "without a primitive" in str(error)
    return False
