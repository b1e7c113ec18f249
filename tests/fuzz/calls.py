"""A call out of a seed and a number, and the verdict on what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
import functools
import inspect
import random
import re
from typing import Any

import lucid
from lucid import nn
import mlx.core as mx
from mlx.utils import tree_flatten
import numpy as np

from tests.fuzz.targets import Target, bases, targets
from tests.fuzz.values import evaluated, odd, plausible
from tests.layers import ROWS

Arguments = dict[str, str]

ERRORS_OF_LUCID = (
    lucid.CheckpointError,
    nn.StateDictError,
    nn.UninitializedParameterError,
)
# What MLX's methods call otherwise than the functions that they call.
_ALIASES = {"file": "path", "file_or_weights": "path"}
LARGEST = 2**22  # bytes of a result that is evaluated


@dataclass(frozen=True)
class Call:
    """A target and the source of its arguments; of a layer, also of its inputs."""

    target: Target
    arguments: Arguments
    starred: tuple[str, ...] = ()
    base: str = ""
    inputs: tuple[str, ...] | None = None

    def __str__(self) -> str:
        given = [f"{name}={source}" for name, source in self.arguments.items()]
        name = self.target.name
        if self.base:
            name = f"{self.base}.{name.rpartition('.')[2]}"
        called = "" if self.inputs is None else f"({', '.join(self.inputs)})"
        return f"{name}({', '.join([*self.starred, *given])}){called}"


all_targets = functools.cache(targets)


def make(seed: int, number: int) -> Call:
    """The call of this number; the same in every process."""
    rng = random.Random(f"{seed}/{number}")
    target = rng.choice(all_targets())
    oddities = rng.choices((0, 1, 2, 3), (1, 6, 2, 1))[0]
    base = rng.choice(bases(target)) if target.owner is not None else ""
    if not target.is_layer:
        arguments, starred = _arguments(target, rng, oddities)
        return Call(target, arguments, starred, base)
    inside = rng.random() < 0.5  # are the odd values the constructor's or the call's?
    own = [i for i, row in enumerate(ROWS) if f"nn.{row.name}" == target.name]
    row = rng.choice(own) if own and rng.random() < 0.8 else None
    arguments, starred = _arguments(target, rng, oddities * (not inside), row)
    inputs = _inputs(target, row, rng)
    for _ in range(oddities * inside):
        inputs[rng.randrange(len(inputs))] = odd(rng)
    return Call(target, arguments, starred, inputs=tuple(inputs))


def _arguments(
    target: Target, rng: random.Random, oddities: int, row: int | None = None
) -> tuple[Arguments, tuple[str, ...]]:
    """Plausible arguments, some made odd; those of *args apart."""
    arguments: Arguments = {}
    starred: list[str] = []
    for parameter in target.parameters:
        name, annotation = parameter.name, str(parameter.annotation)
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            starred = [plausible(name, annotation, rng)]
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            needed = parameter.default is inspect.Parameter.empty
            if needed or rng.random() < 0.2:
                arguments[name] = plausible(name, annotation, rng)
    if row is not None:
        arguments, starred = _row_arguments(target, row)
    spots = [p.name for p in target.parameters if p.kind.name != "VAR_KEYWORD"]
    for _ in range(oddities if spots else 0):
        spot = rng.choice(spots)
        if any(
            p.name == spot and p.kind.name == "VAR_POSITIONAL"
            for p in target.parameters
        ):
            starred = [*starred[1:], odd(rng)]
        else:
            arguments[spot] = odd(rng)
    return arguments, tuple(starred)


def _row_arguments(target: Target, row: int) -> tuple[Arguments, list[str]]:
    names = [p.name for p in target.parameters if p.kind.name != "VAR_POSITIONAL"]
    positional = [
        f"ROWS[{row}].arguments[{i}]" for i in range(len(ROWS[row].arguments))
    ]
    options = {name: f"ROWS[{row}].options[{name!r}]" for name in ROWS[row].options}
    if any(p.kind.name == "VAR_POSITIONAL" for p in target.parameters):
        return options, positional
    return dict(zip(names, positional, strict=False)) | options, []


def _inputs(target: Target, row: int | None, rng: random.Random) -> list[str]:
    if row is not None:
        return [
            f"mx.array(ROWS[{row}].draw()[{i}])" for i in range(len(ROWS[row].inputs))
        ]
    forward = getattr(getattr(nn, target.name.removeprefix("nn.")), "forward", None)
    taken = list(inspect.signature(forward).parameters.values())[1:] if forward else []
    needed = [
        p.name for p in taken if p.default is p.empty and p.kind.name[:3] != "VAR"
    ]
    return [plausible(name, "Tensor", rng) for name in needed or ["input"]]


@dataclass
class Verdict:
    """What came of a call: its fault, or that it was accepted or rightly refused."""

    accepted: bool = False
    fault: str = ""


def run(call: Call) -> Verdict:
    """Make the call, look at the result or at the error, and at what was changed."""
    try:
        arguments = {name: evaluated(s) for name, s in call.arguments.items()}
        starred = [evaluated(source) for source in call.starred]
        inputs = [evaluated(source) for source in call.inputs or ()]
        owner = evaluated(call.base) if call.base else None
    except Exception as error:  # noqa: BLE001 - a mistake of the table, not of Lucid
        return Verdict(fault=f"an argument cannot be made: {error!r}")
    function = evaluated(call.target.name) if owner is None else None
    if owner is not None:
        function = getattr(owner, call.target.name.rpartition(".")[2])
    names = {parameter.name for parameter in call.target.parameters}
    if "inputs" in names:  # for a model to be called with
        names |= _called_with(nn.Sequential)
    watched = [owner, *arguments.values(), *starred, *inputs]
    made, verdict = _attempt(
        call,
        lambda: function(*_leading(call, arguments), *starred, **arguments),
        watched,
        names,
    )
    if verdict.fault or call.inputs is None or not verdict.accepted:
        return verdict
    names |= _called_with(type(made))
    return _attempt(call, lambda: made(*inputs), [made, *inputs], names)[1]


def _called_with(kind: type[nn.Module]) -> set[str]:
    """Names that a layer's call may speak of: its own, and its functions'."""
    callables = [getattr(nn.functional, name) for name in nn.functional.__all__]
    callables += [kind, getattr(kind, "forward", kind)]
    return {
        name for called in callables for name in inspect.signature(called).parameters
    }


def _leading(call: Call, arguments: dict[str, Any]) -> list[Any]:
    """Arguments that stand before *args, taken out of those by name."""
    if not call.starred:
        return []
    before = []
    for parameter in call.target.parameters:
        if parameter.kind.name == "VAR_POSITIONAL":
            break
        if parameter.name in arguments:
            before.append(arguments.pop(parameter.name))
    return before


def _attempt(call: Call, function: Any, watched: list[Any], names: set[str]) -> Any:
    key, state = _random_key(), _state(watched)
    device = mx.default_device()
    try:
        result = function()
        _evaluate(result)
    except Exception as error:  # noqa: BLE001 - that is the question
        if _random_key() != key:
            return None, Verdict(fault=f"the random state moved, then {error!r}")
        if mx.default_device() != device:
            return None, Verdict(fault=f"the device changed, then {error!r}")
        if _state(watched) != state:
            return None, Verdict(fault=f"something changed, then {error!r}")
        right = not call.target.is_ours or _explains(error, names)
        return None, Verdict(fault="" if right else f"{type(error).__name__}: {error}")
    return result, Verdict(accepted=True)


def _explains(error: Exception, names: set[str]) -> bool:
    if isinstance(error, (*ERRORS_OF_LUCID, OSError, MemoryError)):
        return True
    text = str(error)
    # The memory of the process has a limit; and not every module can be called.
    if "malloc" in text or "`forward`" in text:
        return True
    said = set(re.findall(r"`(\w+)", text))
    return any(_ALIASES.get(name, name) in said or name in said for name in names)


def _evaluate(result: Any) -> None:
    arrays = list(_arrays(result))
    if sum(array.nbytes for array in arrays) <= LARGEST:
        mx.eval(arrays)


def _random_key() -> Any:
    return lucid.get_rng_state().tolist()


def _state(watched: Iterable[Any]) -> list[Any]:
    """What a refused call must leave as it was: numbers, names, modes."""
    seen: list[Any] = []
    for thing in watched:
        if isinstance(thing, nn.Module):
            seen.append((repr(thing), [m.training for m in thing.modules()]))
        for array in _arrays(thing):
            small = array.size <= 10_000
            held = np.array(array.astype(mx.float32)).tobytes() if small else id(array)
            seen.append((array.shape, str(array.dtype), held))
    return seen


def _arrays(thing: Any) -> Iterable[mx.array]:
    leaves = [value for _, value in tree_flatten([thing])]
    return [value for value in leaves if isinstance(value, mx.array)]
