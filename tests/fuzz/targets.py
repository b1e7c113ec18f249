"""Everything public that can be called, found by looking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import inspect
import types
from typing import Any

import lucid
from lucid import nn

from tests.layers import ROWS

# `distributed` waits for other processes; `models` are large, and made of layers.
LEFT_OUT = {"lucid.distributed", "lucid.models"}
# These are between layers and laziness, and `forward` is what a call calls.
# What refuses every call, whatever the arguments.
REFUSED = {
    *("double", "zero_grad", "register_backward_hook"),
    *("register_full_backward_hook", "register_full_backward_pre_hook"),
}
PROTOCOL = {"forward", "infer", "sizes_from", *vars(nn.LazyModule)}


@dataclass(frozen=True)
class Target:
    """Something to call.

    Attributes:
        name: as a user writes it; a method's after a dot.
        parameters: what it takes.
        owner: of a method, the class; else None.
        is_ours: whether Lucid promises what its errors say: not of what MLX has.
    """

    name: str
    parameters: tuple[inspect.Parameter, ...]
    owner: type | None
    is_ours: bool

    @property
    def starred(self) -> str:
        """The name of its *args, if it has any."""
        kinds = {p.kind: p.name for p in self.parameters}
        return kinds.get(inspect.Parameter.VAR_POSITIONAL, "")

    @property
    def named(self) -> list[inspect.Parameter]:
        """Its parameters but *args and **kwargs."""
        return [p for p in self.parameters if not p.kind.name.startswith("VAR")]

    @property
    def forward(self) -> list[str]:
        """What a layer that it makes is called with; nothing if it makes none."""
        made = self.owner is None and getattr(nn, self.name.removeprefix("nn."), None)
        forward = getattr(made, "forward", None)
        if forward in (None, nn.Module.forward):
            return []
        taken = list(inspect.signature(forward).parameters.values())[1:]
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p for p in taken if p.default is p.empty and p.kind not in kinds]
        return [parameter.name for parameter in needed] or ["input"]


def targets() -> list[Target]:
    """Functions, classes, and the methods of classes."""
    found = []
    for prefix, module in _modules().items():
        for name, thing in _public(module):
            full = f"{prefix}.{name}"
            if not callable(thing) or _is_alias(thing):
                continue
            found.append(_target(full, thing, None))
            if isinstance(thing, type) and issubclass(thing, nn.Module):
                found += _methods(full, thing)
    return found


def _modules() -> dict[str, Any]:
    """The modules of Lucid that have public names, by what they are called here."""
    named = {"lucid": lucid, "nn": nn, "F": nn.functional, "nn.init": nn.init}
    for name, thing in _public(lucid):
        if isinstance(thing, types.ModuleType) and thing is not nn:
            named[f"lucid.{name}"] = thing
    return {name: thing for name, thing in named.items() if name not in LEFT_OUT}


def _public(module: Any) -> Iterator[tuple[str, Any]]:
    names = getattr(module, "__all__", None)
    for name in sorted(names or (n for n in vars(module) if not n.startswith("_"))):
        thing = getattr(module, name, None)
        if names or getattr(thing, "__module__", None) == module.__name__:
            yield name, thing


def _is_alias(thing: Any) -> bool:
    """Types of others under a name of ours, and errors: nothing of it is Lucid's."""
    if not isinstance(thing, type):
        return False
    is_mlxs = not thing.__module__.startswith("lucid")
    return is_mlxs or issubclass(thing, Exception)


def _methods(full: str, kind: type) -> list[Target]:
    """The methods that this class brings, and no public class before it."""
    found = []
    for name, function in _brought(kind).items():
        if (
            name not in PROTOCOL | REFUSED
            and not name.startswith("_")
            and inspect.isfunction(function)
        ):
            found.append(_target(f"{full}.{name}", function, kind))
    return found


def _brought(kind: type) -> dict[str, Any]:
    """What stands in the class, and in the internal ones that it is made of."""
    public = {getattr(nn, name) for name in nn.__all__}
    outer = [base for base in kind.__mro__[1:] if base in public]
    known = {part for base in outer for part in base.__mro__}
    parts = [part for part in kind.__mro__ if part.__module__.startswith("lucid")]
    own = [part for part in parts if part not in known]
    return {k: v for part in reversed(own) for k, v in vars(part).items()}


def _target(full: str, thing: Callable[..., Any], owner: type | None) -> Target:
    parameters = tuple(inspect.signature(thing).parameters.values())
    is_ours = getattr(thing, "__module__", "").startswith("lucid")
    is_ours = is_ours and not full.startswith("lucid.optim")  # words of MLX's
    return Target(full, parameters[owner is not None :], owner, is_ours)


CONTAINERS = (
    "nn.Sequential(nn.Conv3d(4, 2, 1), nn.ReLU())",
    "nn.Sequential(nn.LazyConv3d(2, 1), mlx.nn.Linear(7, 2))",
    "nn.ModuleList([nn.ReLU(), nn.Conv3d(4, 2, 1)])",
    "nn.ModuleDict({'a': nn.LazyConv3d(2, 1), 'b': nn.Identity()})",
)

# Of a class that no row of the table has, and that needs arguments.
MADE = {"DeepSupervisionLoss": "nn.DeepSupervisionLoss(nn.MSELoss())"}


def bases(target: Target) -> list[str]:
    """What a method can be called on, as source."""
    made = [(row.name, f"ROWS[{i}].layer()") for i, row in enumerate(ROWS)]
    made += [
        (f"Lazy{row.name}", f"ROWS[{i}].lazy_layer()")
        for i, row in enumerate(ROWS)
        if row.lazy is not None
    ]
    made += [(source[3 : source.index("(")], source) for source in CONTAINERS]
    assert target.owner is not None
    kinds = [(getattr(nn, name), source) for name, source in made]
    # Not on classes with a method of their own by that name, of other arguments.
    found = [
        source
        for kind, source in kinds
        if issubclass(kind, target.owner)
        and _takes(kind, target) == _takes(None, target)
    ]
    return found or [MADE.get(target.owner.__name__, f"nn.{target.owner.__name__}()")]


def _takes(kind: type | None, target: Target) -> list[str]:
    method = target.name.rpartition(".")[2]
    return list(inspect.signature(getattr(kind or target.owner, method)).parameters)
