"""The graph of a program: nodes, each an operation on values by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from lucid.program.archive import SCALAR_TYPES


class Ref(NamedTuple):
    """A value that an earlier node made, or an input."""

    name: str


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        target: PyTorch's name of it, "aten.conv3d.default".
        arguments: by name; values of earlier nodes as `Ref`.
        outputs: the names of what it makes: of an operation that returns a list, one
            list; None for an output that nobody uses.
        source: the line of the user's own that made it.
    """

    target: str
    arguments: dict[str, Any]
    outputs: list[Any]
    source: str

    @property
    def in_place(self) -> bool:
        """Whether it changes its first argument: PyTorch's `relu_`."""
        name = self.target.split(".")[1:2]
        return name != [] and name[0].endswith("_") and not name[0].startswith("__")

    @property
    def functional(self) -> str:
        """The target of the operation that makes a new array of the same numbers."""
        if not self.in_place:
            return self.target
        library, name, overload = self.target.split(".")
        return f"{library}.{name.removesuffix('_')}.{overload}"

    @property
    def written(self) -> str:
        """The name of the value that it changes in place."""
        return next(iter(self.arguments.values())).name

    def references(self) -> Iterator[str]:
        """The names of the values that it reads."""
        for argument in self.arguments.values():
            yield from references(argument)

    def names(self) -> Iterator[str]:
        """The names of the values that it makes."""
        for output in self.outputs:
            several = output if isinstance(output, list) else [output]
            yield from (name for name in several if name is not None)


def references(value: Any) -> Iterator[str]:
    """The names in an argument or an output."""
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, list):
        for entry in value:
            yield from references(entry)


class GraphError(ValueError):
    """A graph that Lucid cannot make sense of."""


def parse_nodes(described: list[Any]) -> list[Node]:
    """The nodes of a graph, as PyTorch describes them.

    Raises:
        GraphError: for a kind of argument that Lucid does not know.
    """
    return [_node(node) for node in described]


def _node(node: dict[str, Any]) -> Node:
    target = node["target"].removeprefix("torch.ops.").removeprefix("torch.")
    source = own_line(node.get("metadata", {}).get("stack_trace", ""))
    arguments = {}
    for i, argument in enumerate(node["inputs"]):
        arguments[argument["name"] or f"_{i}"] = parse_argument(argument["arg"])
    outputs = [_names(parse_argument(output)) for output in node["outputs"]]
    return Node(target, arguments, outputs, source)


def _names(output: Any) -> Any:
    if isinstance(output, list):
        return [_names(entry) for entry in output]
    return output.name if isinstance(output, Ref) else None


def parse_argument(argument: dict[str, Any]) -> Any:
    """PyTorch's tagged union as a Python value.

    Raises:
        GraphError: for a kind that Lucid does not know.
    """
    ((kind, value),) = argument.items()
    if kind == "as_none":
        return None
    if kind in ("as_tensor", "as_optional_tensor"):
        if kind == "as_optional_tensor":
            return parse_argument(value)
        return Ref(value["name"])
    if kind == "as_tensors":
        return [Ref(tensor["name"]) for tensor in value]
    if kind == "as_optional_tensors":
        return [parse_argument(tensor) for tensor in value]
    if kind in ("as_sym_int", "as_sym_bool", "as_sym_float"):
        return _symbolic(value)
    if kind in ("as_sym_ints", "as_sym_bools", "as_sym_floats"):
        return [_symbolic(entry) for entry in value]
    if kind in _LITERALS:
        return value
    if kind == "as_scalar_type":
        if value not in SCALAR_TYPES:
            raise GraphError(f"PyTorch's dtype {value} is not MLX's")
        return SCALAR_TYPES[value]
    if kind in ("as_device", "as_layout", "as_memory_format"):
        return None  # memory is unified, and its order is MLX's
    raise GraphError(f"an argument of the kind {kind!r}")


_LITERALS = {
    *("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools"),
    *("as_string", "as_strings"),
}


def _symbolic(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    return Ref(content) if kind == "as_name" else content


def own_line(trace: str) -> str:
    """The innermost frame of a stack trace that is not PyTorch's own."""
    frames = [f.strip() for f in trace.split('File "')[1:]]
    own = [f for f in frames if "/torch/" not in f.split('"')[0].replace("\\", "/")]
    if not own:
        return ""
    place, _, rest = own[-1].partition("\n")
    path, _, number = place.partition('", line ')
    lines = rest.strip().splitlines()
    return f"{path}:{number.partition(',')[0]}: {lines[0] if lines else ''}"
