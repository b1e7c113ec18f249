"""A first call in three steps: try, draw, adopt.

*Try*: the call runs once, unevaluated, on copies of all that its modules hold.
*Draw*: each lazy layer that it reaches creates its arrays then, from a random state
that nothing but weights moves. Then modules and random state are put back as they were,
and all these layers *adopt* what was drawn, in one moment. What fails, fails before
anything has changed, so that there is nothing to undo. Then the call itself runs.

Whether code runs in a trial, or past one, is told by a context variable, which ends
with the call that it was set for, whatever interrupts that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import contextvars
import copy
from functools import partial
import itertools
import threading
from typing import Any

from lucid.creation import get_rng_state, set_rng_state
from lucid.nn import _hooks
from lucid.nn._members import named_tree
from lucid.nn._traces import is_placeholder, restore_rng_state
import mlx.core as mx
import mlx.nn

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
    """Whether `value_and_grad` differentiates this, so that no weight can join now."""
    return _past_trial.get() == "gradient" and not in_trial()


def past_trial(what: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call `fn`, whose modules need no trial of their own: it has had one."""
    context = contextvars.copy_context()
    context.run(_past_trial.set, what)
    return context.run(fn, *args, **kwargs)


def has_waiting(model: mlx.nn.Module) -> bool:
    """Whether a lazy layer somewhere in the model has yet to see its first input.

    A model that had none is looked through again only in a new era.
    """
    if vars(model).get("_complete_in") == era:
        return False
    waiting = any(vars(module).get("_waiting") for _, module in named_tree(model))
    if not waiting:
        vars(model)["_complete_in"] = era
    return waiting


def call(module: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call a module's `forward`, once the lazy layers that it reaches are created."""
    trial = _trial.get()
    if trial is not None:
        trial.keep(module)
        return module.forward(*args, **kwargs)  # without its hooks
    if not _past_trial.get():
        with LOCK:
            if has_waiting(module):
                create(partial(module.forward, *args, **kwargs), module)
                return past_trial("call", _hooks.forward, module, *args, **kwargs)
    return _hooks.forward(module, *args, **kwargs)


def create(call: Callable[[], Any], *models: mlx.nn.Module) -> None:
    """Have every lazy layer that `call` reaches create its arrays, or none."""
    if in_trial():
        call()  # and leave the layers to that trial
    else:
        with LOCK:
            _adopt(try_out(call, *models))


def _adopt(trial: _Trial) -> None:
    try:
        set_rng_state(trial.weights_key)
        for _, entries, attributes in trial.drawn:
            # MLX evaluates no array on one thread that another left unevaluated.
            if attributes["_thread"] != threading.get_native_id():
                list(map(is_placeholder, entries.values()))  # evaluates them
        _fill(trial.drawn)
    except BaseException:
        if all(vars(layer)["_waiting"] for layer, _, _ in trial.drawn):
            restore_rng_state(trial.key)
        raise


def draw(layer: Any, fill: Callable[[], Any]) -> None:
    """Have `fill` create a lazy layer's arrays; in a trial, for its duration."""
    trial = _trial.get()
    if trial is not None:
        trial.draw(layer, fill)
    else:
        create(partial(draw, layer, fill))


def create_from(given: Iterable[tuple[Any, Mapping[str, mx.array]]]) -> None:
    """Have each lazy layer take its values: all of them, or none."""
    create(
        lambda: [draw(layer, partial(layer.take, values)) for layer, values in given]
    )


def try_out(call: Callable[[], Any], *models: mlx.nn.Module) -> _Trial:
    """Run `call` without consequences: all it moves is as before, however it ends."""
    trial, context = _Trial(), contextvars.copy_context()
    context.run(_trial.set, trial)
    try:
        try:
            for model in models:
                trial.keep(model)
            context.run(call)
        finally:
            trial.put_back()
    except BaseException:
        trial.put_back()  # again: an interrupt may have stopped the first
        restore_rng_state(trial.key)
        raise
    return trial


Contents = tuple[Any, dict[str, Any], dict[str, Any]]  # a module, entries, attributes


class _Trial:
    """One run of a call on copies: what its modules held, and what layers drew."""

    def __init__(self) -> None:
        self.key = self.weights_key = get_rng_state()
        self.drawn: list[Contents] = []
        self._held: dict[int, Contents] = {}
        self._copies: dict[int, tuple[Any, Any]] = {}

    def keep(self, model: Any) -> None:
        """Remember what a module and all inside it hold, and put copies there."""
        if id(model) not in self._held:
            for _, module in named_tree(model):
                if id(module) not in self._held:
                    self._held[id(module)] = _contents(module)
                    self._protect(module)

    def draw(self, layer: Any, fill: Callable[[], Any]) -> None:
        """Fill a layer, and remember how that changes what it held."""
        self.keep(layer)
        before, key = _contents(layer), get_rng_state()
        set_rng_state(self.weights_key)
        try:
            fill()
            self.weights_key = get_rng_state()
        finally:
            set_rng_state(key)
        _, *held = self._held[id(layer)]
        entries, attributes = map(_changed, held, before[1:], _contents(layer)[1:])
        self.drawn.append((layer, entries, attributes))
        self._protect(layer)

    def put_back(self) -> None:
        """Have every module hold what it held, and the random state be what it was."""
        _fill(self._held.values())
        set_rng_state(self.key)

    def _protect(self, module: Any) -> None:
        """Put copies in a module of what may change in place."""
        _, entries, attributes = _contents(module)
        _fill([(module, self._copied(entries), self._copied(attributes))])

    def _copied(self, value: Any) -> Any:
        """Arrays and containers anew, tied ones once; modules as they are."""
        changeable = isinstance(value, mx.array | dict | list | set)
        if isinstance(value, mlx.nn.Module) or not changeable:
            return value
        if id(value) not in self._copies:
            twin: Any = copy.copy(value)  # of an array, a handle of the same numbers
            if isinstance(value, dict):
                twin.update((key, self._copied(entry)) for key, entry in value.items())
            elif isinstance(value, list):
                twin[:] = map(self._copied, value)
            self._copies[id(value)] = value, twin
        return self._copies[id(value)][1]


def _contents(module: Any) -> Contents:
    return module, dict(dict.items(module)), dict(vars(module))


def _changed(held: Any, before: Any, after: Any) -> dict[str, Any]:
    """What a module held, changed as `after` differs from `before`."""
    kept = {k: v for k, v in held.items() if k in after or k not in before}
    return kept | {k: v for k, v in after.items() if before.get(k, held) is not v}


def _fill(contents: Iterable[Contents]) -> None:
    """Have each module hold these entries and attributes, and nothing else.

    One call into C does it: no signal and no other thread comes between.
    """
    old: list[dict[str, Any]] = []
    new: list[dict[str, Any]] = []
    for module, entries, attributes in contents:
        old += module, vars(module)
        new += entries, attributes
    list(itertools.chain(map(dict.clear, old), map(dict.update, old, new)))
