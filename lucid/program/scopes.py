"""The modules of a program: names for its arrays, as PyTorch gave them."""

from __future__ import annotations

from typing import Any

from lucid import nn
from lucid.program.archive import Contents
from lucid.program.graph import GraphError


class Scope(nn.Module):
    """A module of the exported network, of which its arrays are left."""

    def extra_repr(self) -> str:
        arrays = [*self.named_parameters(recurse=False)]
        arrays += self.named_buffers(recurse=False)
        return ", ".join(f"{name} {array.shape}" for name, array in arrays)


def fill(program: nn.Module, contents: Contents, specs: list[dict[str, Any]]) -> None:
    """Give the program its parameters and buffers.

    Args:
        program: without any yet.
        contents: of the archive.
        specs: PyTorch's description of the graph's inputs.

    Raises:
        GraphError: for an array that is missing, or a name that a module cannot have.
    """
    members = [
        (kind, content)
        for ((kind, content),) in (spec.items() for spec in specs)
        if kind in ("parameter", "buffer")
    ]
    numbered = _numbered([content[f"{kind}_name"] for kind, content in members])
    for kind, content in members:
        name = content[f"{kind}_name"]
        source = contents.weights if name in contents.weights else contents.constants
        if name not in source:
            raise GraphError(f"no bytes for {name!r}")
        try:
            owner, last = _owner(program, name, numbered)
            if kind == "buffer":
                persistent = content.get("persistent") is not False
                owner.register_buffer(last, source[name], persistent=persistent)
                continue
            setattr(owner, last, source[name])
        except AttributeError as error:
            raise GraphError(f"a module or array named {name!r} ({error})") from None
        if name in contents.frozen:
            owner.freeze(keys=[last], recurse=False)


def _numbered(names: list[str]) -> set[str]:
    """The dotted names of modules whose modules are numbered, as a list's are."""
    paths = [name.split(".") for name in names]
    return {
        ".".join(path[:i])
        for path in paths
        for i, part in enumerate(path[:-1])
        if part.isdigit()
    }


def _owner(program: nn.Module, name: str, numbered: set[str]) -> tuple[Any, str]:
    """The module that holds an array of this dotted name, made where it is missing."""
    *path, last = name.split(".")
    owner: Any = program
    for i, part in enumerate(path):
        children = dict(owner.named_children())
        if part not in children:
            inner = ".".join(path[: i + 1])
            children[part] = nn.ModuleList() if inner in numbered else Scope()
            owner.add_module(part, children[part])
        owner = children[part]
    return owner, last
