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
import secrets
import threading
from typing import Any

from lucid.creation import get_rng_state, set_rng_state
import mlx.core as mx


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


class _DryRun:
    """The random state that weights are drawn from, and what is restored at the end."""

    def __init__(self) -> None:
        self.weights_key = get_rng_state()
        self.snapshots: dict[int, _Snapshot] = {}


class _Thread(threading.local):
    depth = 0
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
            run.snapshots[id(self.snapshot.module)] = self.snapshot
            run.weights_key = self.weights_key


class Transaction:
    """A block whose failure undoes what was recorded in it."""

    __slots__ = ("_mark",)

    def __enter__(self) -> None:
        self._mark = len(_thread.records)
        _thread.depth += 1

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        _thread.depth -= 1
        records = _thread.records
        if kind is not None:
            for record in reversed(records[self._mark :]):
                record.undo()
            del records[self._mark :]
        if _thread.depth == 0:
            records.clear()
            if kind is not None:
                _revive_random_state()


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
    _thread.records.append(_Record(module))
    dry_run = _thread.dry_run
    if dry_run is None:
        yield
        return
    key = get_rng_state()
    set_rng_state(dry_run.weights_key)
    try:
        yield
        dry_run.weights_key = get_rng_state()
        dry_run.snapshots[id(module)] = _Snapshot(module)
    finally:
        set_rng_state(key)


def in_dry_run() -> bool:
    """Whether this thread is in a dry run."""
    return _thread.dry_run is not None


def keep_unchanged(model: Any) -> None:
    """In a dry run, have a module and all inside it restored at the end."""
    run = _thread.dry_run
    if run is not None and id(model) not in run.snapshots:
        for module in model.modules():
            run.snapshots.setdefault(id(module), _Snapshot(module))


@contextlib.contextmanager
def dry_run() -> Iterator[None]:
    """A block that leaves behind new weights, and nothing else.

    The random state ends advanced by the weights' draws alone; if the block fails,
    every layer that it materialized is lazy again.
    """
    if _thread.dry_run is not None:
        yield  # the outer one cleans up
        return
    before = get_rng_state()
    run = _thread.dry_run = _DryRun()
    try:
        with Transaction():
            try:
                yield
            finally:
                for snapshot in run.snapshots.values():
                    snapshot.restore()
        set_rng_state(run.weights_key)
    except BaseException:
        set_rng_state(before)
        _revive_random_state()
        raise
    finally:
        _thread.dry_run = None
