"""Making a call, and judging what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import inspect
import itertools
import re
from typing import Any

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
from mlx.utils import tree_flatten
import numpy as np

from tests.fuzz.calls import Call
from tests.fuzz.values import evaluated

LARGEST = 2**22  # bytes of arguments and a result that is evaluated
# What is called otherwise by the function that refuses it.
ALIASES = {
    "file": {"path"},
    "file_or_weights": {"path"},
    "modules": {"name"},
    "parameters": {"name"},
}


@dataclass
class Verdict:
    """What came of a call: a fault, or that it was accepted or rightly refused."""

    accepted: bool = False
    fault: str = ""


def judged(call: Call) -> Verdict:
    """Make the call; look at the result or at the error, and at what was changed."""
    given = {name: evaluated(source) for name, source in call.arguments.items()}
    starred = [evaluated(source) for source in call.starred]
    inputs = [evaluated(source) for source in call.inputs or ()]
    owner = evaluated(call.base) if call.base else None
    if owner is None:
        function = evaluated(call.target.name)
    else:
        function = getattr(owner, call.target.name.rpartition(".")[2])
    speaks_of = {parameter.name for parameter in call.target.parameters}
    if "inputs" in speaks_of:  # for a model to be called with
        speaks_of |= _of_the_call(nn.Sequential)
    promised = call.target.is_ours and not _calls_the_users(given, starred)
    watched = [owner, *given.values(), *starred]
    leading = _leading(call, given)
    made, verdict = _attempt(
        lambda: function(*leading, *starred, **given), watched, speaks_of, promised
    )
    if call.inputs is None or not verdict.accepted:
        return verdict
    speaks_of |= _of_the_call(type(made))
    return _attempt(lambda: made(*inputs), [made, *inputs], speaks_of, promised)[1]


def _calls_the_users(given: dict[str, Any], starred: list[Any]) -> bool:
    """Whether an error may come from a function or model that was handed in."""
    names = ("fn", "predicate", "hook", "predictor", "loss", "other_act")
    functions = [given.get(name) for name in names]
    functions += [thing for thing in starred if not isinstance(thing, nn.Module)]
    is_mlxs = isinstance(given.get("model"), mlx.nn.Module)
    is_mlxs = is_mlxs and not isinstance(given["model"], nn.Module)
    return is_mlxs or any(map(callable, functions))


def _of_the_call(kind: type[nn.Module]) -> set[str]:
    """Names that a layer's call may speak of: its own, and its functions'."""
    called = [getattr(nn.functional, name) for name in nn.functional.__all__]
    called += [kind, getattr(kind, "forward", kind)]
    return {name for each in called for name in inspect.signature(each).parameters}


def _leading(call: Call, given: dict[str, Any]) -> list[Any]:
    """Arguments that stand before *args, taken out of those by name."""
    before = itertools.takewhile(
        lambda p: p.name != call.target.starred, call.target.parameters
    )
    names = [p.name for p in before] if call.target.starred else []
    return [given.pop(name) for name in names if name in given]


def _attempt(
    function: Callable[[], Any], watched: list[Any], speaks_of: set[str], promised: bool
) -> tuple[Any, Verdict]:
    """The result, and the verdict; a promised message names one of `speaks_of`."""
    before = _state(watched)
    try:
        result = function()
        if sum(array.nbytes for array in _arrays([watched, result])) <= LARGEST:
            mx.eval(_arrays(result))
    except Exception as error:  # noqa: BLE001 - that is the question
        fault = ""
        if promised and not _explains(error, speaks_of):
            fault = f"{type(error).__name__}: {error}"
        if _state(watched) != before:
            fault = f"something changed before it was refused: {error!r}"
        return None, Verdict(fault=fault)
    return result, Verdict(accepted=True)


def _explains(error: Exception, speaks_of: set[str]) -> bool:
    is_lucids = type(error).__module__.startswith("lucid")
    if is_lucids or isinstance(error, OSError | MemoryError):
        return True
    text = str(error)
    # The process may have little memory; and not every module can be called.
    if "malloc" in text or "this machine can hold" in text or "`forward`" in text:
        return True
    said = set(re.findall(r"`(\w+)", text))
    return any(said & {name, *ALIASES.get(name, ())} for name in speaks_of)


def _state(watched: Iterable[Any]) -> list[Any]:
    """What a refused call leaves as it was: numbers, names, modes, the random state."""
    seen: list[Any] = [lucid.get_rng_state().tolist(), mx.default_device()]
    for thing in watched:
        if isinstance(thing, nn.Module):
            seen.append((repr(thing), [m.training for m in thing.modules()]))
        for array in _arrays(thing):
            is_small = array.size <= 10_000
            numbers = np.array(array.astype(mx.float32)).tobytes() if is_small else b""
            seen.append((array.shape, str(array.dtype), numbers))
    return seen


def _arrays(thing: Any) -> list[mx.array]:
    leaves = [value for _, value in tree_flatten([thing])]
    return [value for value in leaves if isinstance(value, mx.array)]
