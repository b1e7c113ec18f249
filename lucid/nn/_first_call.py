"""All or nothing: a call that fails un-materializes every layer it materialized.

Each module call is a `Transaction`. A lazy layer records itself just before it creates
its weights; when the call that it happened in raises, the records since that call began
are undone and the random state goes back to where the first of them found it.

A dry run is a call for the weights' sake alone: nothing is evaluated, and all that the
call moved besides (buffers, the random state) goes back.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import copy
import secrets
import threading
from typing import Any

from lucid.creation import get_rng_state, set_rng_state
import mlx.core as mx
import mlx.nn


class _Snapshot:
    """A module's entries and attributes at one moment."""

    def __init__(self, module: Any):
        self.module = module
        self.entries = dict(module.items())
        self.attributes = dict(module.__dict__)

    def restore(self) -> None:
        dict.clear(self.module)
        dict.update(self.module, self.entries)
        self.module.__dict__.clear()
        self.module.__dict__.update(self.attributes)

    def shadow(self) -> None:
        """Put copies in the module, which it may change in place, for the while."""
        for name, value in self.entries.items():
            dict.__setitem__(self.module, name, _copied(value))
        for name, value in self.attributes.items():
            if isinstance(value, list | dict | set):
                self.module.__dict__[name] = copy.copy(value)

    def difference(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The entries and attributes that are others now."""
        missing = object()
        pairs = (
            (self.entries, dict(self.module.items())),
            (self.attributes, dict(self.module.__dict__)),
        )
        entries, attributes = (
            {k: v for k, v in now.items() if before.get(k, missing) is not v}
            for before, now in pairs
        )
        return entries, attributes


def _copied(value: Any) -> Any:
    """Plain lists and dicts anew, the arrays in them by value; modules as they are."""
    if isinstance(value, mx.array):
        return mx.array(value)
    if isinstance(value, mlx.nn.Module):
        return value
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    return [_copied(entry) for entry in value] if isinstance(value, list) else value


class _DryRun:
    """The random state that weights are drawn from, and what is left at the end."""

    def __init__(self) -> None:
        self.weights_key = get_rng_state()
        self.snapshots: dict[int, _Snapshot] = {}
        # By module: the entries and attributes that make it materialized.
        self.created: dict[int, tuple[Any, dict[str, Any], dict[str, Any]]] = {}

    def finish(self) -> None:
        for snapshot in self.snapshots.values():
            snapshot.restore()
        for module, entries, attributes in self.created.values():
            dict.update(module, entries)
            module.__dict__.update(attributes)


class _Thread(threading.local):
    depth = 0
    failed_first_call = False
    creating: Any = None
    dry_run: _DryRun | None = None

    def __init__(self) -> None:
        self.records: list[_Record] = []


_thread = _Thread()


class _Record:
    """A layer about to create its weights, and the random states then."""

    def __init__(self, module: Any):
        run = _thread.dry_run
        self.snapshot = _Snapshot(module)
        self.key = get_rng_state()
        self.weights_key = None if run is None else run.weights_key

    def undo(self) -> None:
        self.snapshot.restore()
        set_rng_state(self.key)
        run = _thread.dry_run
        if run is not None and self.weights_key is not None:
            run.created.pop(id(self.snapshot.module), None)
            run.weights_key = self.weights_key


class Transaction:
    """A block whose failure undoes what was recorded in it.

    Args:
        first_call: whether a lazy layer is about to create its weights in it.
    """

    __slots__ = ("_first_call", "_mark")

    def __init__(self, first_call: bool = False):
        self._first_call = first_call

    def __enter__(self) -> None:
        self._mark = len(_thread.records)
        _thread.depth += 1

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        _thread.depth -= 1
        records = _thread.records
        if kind is not None:
            failed = records[self._mark :]
            for record in reversed(failed):
                record.undo()
            del records[self._mark :]
            _thread.failed_first_call |= self._first_call or bool(failed)
        if _thread.depth == 0:
            records.clear()
            if kind is not None and _thread.failed_first_call:
                _revive_random_state()
            _thread.failed_first_call = False


def is_placeholder(array: mx.array) -> bool:
    """Whether an array stands for an input of a function that mx.compile is tracing.

    Or did so in a trace that has ended: such an array has no value and never will.
    """
    try:
        mx.eval(array)
    except (RuntimeError, ValueError):
        return True
    return False


def _revive_random_state() -> None:
    """Reseed if an error leaves a trace that captured the random state.

    MLX would leave a placeholder there, at which every later draw fails.
    """
    if is_placeholder(get_rng_state()):
        mx.random.seed(secrets.randbits(64))


@contextlib.contextmanager
def creating_weights(module: Any, token: mx.array) -> Iterator[None]:
    """Around a lazy layer's draws: recorded first, and in a dry run drawn in order.

    In a dry run the weights come from a random state of their own, so that dropout
    between two layers does not shift what the second one draws.

    Args:
        module: the layer.
        token: an array of the layer's, by which to tell whether a trace captured it.

    Raises:
        RuntimeError: in a trace that captured the random state and not the layer.
    """
    if is_placeholder(get_rng_state()) and not is_placeholder(token):
        raise RuntimeError(
            f"the first call of {module!r} is inside an mx.compile that captures "
            "mx.random.state but not the model, so that its weights would be drawn "
            "anew at every call: capture model.state too (inputs= and outputs=), or "
            "call lucid.nn.materialize(model, input_shape) first."
        )
    keep_unchanged(module)
    record = _Record(module)
    _thread.records.append(record)
    outer, _thread.creating = _thread.creating, module
    run = _thread.dry_run
    key = get_rng_state()
    if run is not None:
        set_rng_state(run.weights_key)
    try:
        yield
        if run is not None:
            run.weights_key = get_rng_state()
            run.created[id(module)] = (module, *record.snapshot.difference())
    finally:
        _thread.creating = outer
        if run is not None:
            set_rng_state(key)


def is_creating(module: Any) -> bool:
    """Whether this thread is creating the weights of a lazy layer right now."""
    return _thread.creating is module


def in_dry_run() -> bool:
    """Whether this thread is in a dry run."""
    return _thread.dry_run is not None


def keep_unchanged(model: Any) -> None:
    """In a dry run, have a module and all inside it restored at the end."""
    run = _thread.dry_run
    if run is not None and id(model) not in run.snapshots:
        for module in model.modules():
            if id(module) not in run.snapshots:
                run.snapshots[id(module)] = snapshot = _Snapshot(module)
                snapshot.shadow()


@contextlib.contextmanager
def dry_run() -> Iterator[None]:
    """A block that leaves behind new weights, and nothing else.

    The random state ends advanced by the weights' draws alone; if the block fails,
    every layer that it materialized is lazy again.
    """
    if _thread.dry_run is not None:
        with Transaction():
            yield  # the outer one restores and moves the random state
        return
    before = get_rng_state()
    run = _thread.dry_run = _DryRun()
    try:
        with Transaction():
            try:
                yield
            finally:
                run.finish()
        set_rng_state(run.weights_key)
    except BaseException:
        set_rng_state(before)
        _revive_random_state()
        raise
    finally:
        _thread.dry_run = None
