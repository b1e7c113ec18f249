"""Nested inputs and outputs, as PyTorch's trees describe them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import json
from typing import Any

from lucid.program.graph import GraphError

_SEQUENCES: dict[str, Any] = {
    "builtins.tuple": tuple,
    "builtins.list": list,
    "collections.namedtuple": tuple,  # the file does not say what its fields are
}
_MAPPINGS: dict[str, Any] = {
    "builtins.dict": dict,
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": dict,
}


@dataclass(frozen=True)
class Tree:
    """A leaf (kind None), a sequence, or a mapping with keys."""

    kind: str | None
    keys: tuple[Any, ...]
    children: tuple[Tree, ...]

    def leaves(self) -> int:
        return 1 if self.kind is None else sum(c.leaves() for c in self.children)

    def flatten(self, value: Any, where: str) -> Iterator[Any]:
        """The leaves of a value of this structure.

        Raises:
            TypeError: if it has another structure; `where` says whose.
        """
        if self.kind is None:
            yield value
        elif self.kind in _SEQUENCES:
            if not isinstance(value, tuple | list) or len(value) != len(self.children):
                raise TypeError(f"{where} must hold {len(self.children)} values.")
            for i, (child, entry) in enumerate(zip(self.children, value, strict=True)):
                yield from child.flatten(entry, f"{where}[{i}]")
        else:
            if not isinstance(value, Mapping) or set(value) != set(self.keys):
                raise TypeError(f"{where} must be a dict with keys {list(self.keys)}.")
            for key, child in zip(self.keys, self.children, strict=True):
                yield from child.flatten(value[key], f"{where}[{key!r}]")

    def unflatten(self, leaves: Iterator[Any]) -> Any:
        """The value of this structure with these leaves."""
        if self.kind is None:
            return next(leaves)
        values = [child.unflatten(leaves) for child in self.children]
        if self.kind in _SEQUENCES:
            return _SEQUENCES[self.kind](values)
        return _MAPPINGS[self.kind](zip(self.keys, values, strict=True))


def parse_tree(described: str) -> Tree:
    """A tree from PyTorch's JSON of it.

    Raises:
        GraphError: for a container that Lucid does not know.
    """
    _, tree = json.loads(described)
    return _tree(tree)


def _tree(tree: dict[str, Any]) -> Tree:
    kind, children = tree["type"], tuple(_tree(c) for c in tree["children_spec"])
    if kind is None or kind in _SEQUENCES:
        return Tree(kind, (), children)
    if kind not in _MAPPINGS:
        raise GraphError(f"inputs or outputs in a {kind}")
    context = json.loads(tree["context"])
    if kind == "collections.defaultdict":
        context = context[-1]
    return Tree(kind, tuple(context), children)
