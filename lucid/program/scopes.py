"""The modules of a program: names for its arrays, as PyTorch gave them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lucid import nn
from lucid.nn._layers import Layers
from lucid.program.archive import Contents
from lucid.program.graph import GraphError
from lucid.program.program import Program
import mlx.core as mx


class Scope(nn.Module):
    """A module of the exported network, of which its arrays are left."""

    def extra_repr(self) -> str:
        arrays = [*self.named_parameters(recurse=False)]
        arrays += self.named_buffers(recurse=False)
        return ", ".join(f"{name} {array.shape}" for name, array in arrays)


class Listed(Layers):
    """A module some of whose parts have names that an attribute cannot have.

    Those are numbers, names that begin with an underscore, which MLX leaves out of a
    model, and names of a module's own methods (`update`). Such arrays, and all modules,
    stand in a list, as a ModuleList's do.
    """

    def __init__(self) -> None:
        super().__init__("modules", ())

    def _checked(self, argument: str, layer: Any) -> Any:
        return layer

    def add_module(self, name: str, module: Any) -> None:
        self._insert(len(self), name, module)

    def add_array(self, name: str, array: Any) -> str:
        """Put an array at the end of the list; returns MLX's name of it."""
        self._insert(len(self), name, array)
        return f"layers.{len(self) - 1}"

    def add_buffer(self, name: str, array: mx.array, persistent: bool) -> None:
        """Put an array that is never trained at the end of the list."""
        place = self.add_array(name, array)
        self._no_grad.add_buffer(place)
        self._unsaved = self._unsaved if persistent else self._unsaved | {place}


class ListedScope(Scope, Listed):
    def __repr__(self) -> str:
        return super().__repr__().removeprefix("Listed")


class ListedProgram(Program, Listed):
    def __repr__(self) -> str:
        return super().__repr__().removeprefix("Listed")


def is_attribute(name: str) -> bool:
    """Whether an array or module can be an attribute of this name."""
    taken = hasattr(ListedScope, name) or hasattr(ListedProgram, name)
    return not (name.isdigit() or name.startswith("_") or taken)


def listed(names: Iterable[str]) -> set[str]:
    """The dotted names of the modules that must be `Listed`; "" is the outermost."""
    return {
        ".".join(path[:i])
        for path in (name.split(".") for name in names)
        for i, part in enumerate(path)
        if not is_attribute(part)
    }


def fill(program: Program, contents: Contents, specs: list[dict[str, Any]]) -> None:
    """Give the program its parameters and buffers.

    Args:
        program: without any yet.
        contents: of the archive.
        specs: PyTorch's description of the graph's inputs.

    Raises:
        GraphError: for an array that is missing, or a name that no module can have.
    """
    members = {
        content[f"{kind}_name"]: (kind, content)
        for ((kind, content),) in (spec.items() for spec in specs)
        if kind in ("parameter", "buffer")
    }
    in_lists = listed(members)
    for name, (kind, content) in members.items():
        source = contents.weights if name in contents.weights else contents.constants
        if name not in source:
            raise GraphError(f"no bytes for {name!r}")
        try:
            owner, last = _owner(program, name, in_lists)
            if kind == "buffer":
                persistent = content.get("persistent") is not False
                _add_buffer(owner, last, source[name], persistent)
            else:
                place = _add_parameter(owner, last, source[name])
                if name in contents.frozen:
                    owner.freeze(keys=[place], recurse=False)
        except (AttributeError, LookupError) as error:
            raise GraphError(f"a module or array named {name!r} ({error})") from None


def _add_parameter(owner: Any, name: str, array: mx.array) -> str:
    if not is_attribute(name):
        return owner.add_array(name, array)
    setattr(owner, name, array)
    return name


def _add_buffer(owner: Any, name: str, array: mx.array, persistent: bool) -> None:
    if is_attribute(name):
        owner.register_buffer(name, array, persistent=persistent)
    else:
        owner.add_buffer(name, array, persistent)


def _owner(program: Program, name: str, in_lists: set[str]) -> tuple[Any, str]:
    """The module that holds an array of this dotted name, made where it is missing."""
    *path, last = name.split(".")
    owner: Any = program
    for i, part in enumerate(path):
        children = dict(owner.named_children())
        if part not in children:
            inner = ".".join(path[: i + 1])
            children[part] = ListedScope() if inner in in_lists else Scope()
            owner.add_module(part, children[part])
        owner = children[part]
    return owner, last
