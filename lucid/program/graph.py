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
        name = (*self.target.split("."), "")[1]
        return name.endswith("_") and (name[:2] != "__" or name[:3] == "__i")

    @property
    def functional(self) -> str:
        """The target of the operation that makes a new array of the same numbers."""
        if not self.in_place:
            return self.target
        library, name, overload = self.target.split(".")
        if name.startswith("__i"):
            return f"{library}.__{name[3:]}.{overload}"
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


def parse_nodes(described: list[Any], block: str = "") -> list[Node]:
    """The nodes of a graph, as PyTorch describes them.

    Args:
        described: the nodes.
        block: put before each name, when the graph stands inside another.

    Raises:
        GraphError: for a kind of argument that Lucid does not know.
    """
    nodes = []
    for node in described:
        target = node["target"].removeprefix("torch.ops.").removeprefix("torch.")
        source = own_line(node.get("metadata", {}).get("stack_trace", ""))
        make = _block if target.startswith("higher_order.") else _operation
        nodes += make(target, node, source, block)
    return nodes


def _operation(
    target: str, node: dict[str, Any], source: str, block: str
) -> list[Node]:
    arguments = {}
    for i, argument in enumerate(node["inputs"]):
        arguments[argument["name"] or f"_{i}"] = parse_argument(argument["arg"], block)
    return [Node(target, arguments, _made(node["outputs"], block), source)]


def _block(target: str, node: dict[str, Any], source: str, outer: str) -> list[Node]:
    """The nodes of a graph inside the graph: what stood under `torch.no_grad()`.

    What enters it is then detached. A block that means more than its nodes say (cond,
    autocast) stays one node, of an operation that Lucid lacks.
    """
    settings = [argument["arg"] for argument in node["inputs"]]
    is_gradient_mode = target == "higher_order.wrap_with_set_grad_enabled"
    is_autocast_off = target == "higher_order.wrap_with_autocast" and (
        settings[2] == {"as_bool": False}
    )
    if not (is_gradient_mode or is_autocast_off):
        return [Node(target, {}, [], source)]
    place = next(i for i, setting in enumerate(settings) if "as_graph" in setting)
    block, given = settings[place]["as_graph"], settings[place + 1 :]
    graph, inner = block["graph"], f"{outer}{block['name']}."
    entry = "detach" if settings[0] == {"as_bool": False} else "alias"
    nodes = []
    for name, value in zip(_made(graph["inputs"], inner), given, strict=True):
        enter = f"aten.{entry if 'as_tensor' in value else 'alias'}.default"
        nodes.append(
            Node(enter, {"self": parse_argument(value, outer)}, [name], source)
        )
    nodes += parse_nodes(graph["nodes"], inner)
    made = _made(node["outputs"], outer)
    if len(made) == 1 and isinstance(made[0], list):
        (made,) = made
    for name, value in zip(made, graph["outputs"], strict=True):
        leave = {"self": parse_argument(value, inner)}
        nodes.append(Node("aten.alias.default", leave, [name], source))
    return nodes


def _made(outputs: list[Any], block: str) -> list[Any]:
    return [_names(parse_argument(output, block)) for output in outputs]


def _names(output: Any) -> Any:
    if isinstance(output, list):
        return [_names(entry) for entry in output]
    return output.name if isinstance(output, Ref) else None


def parse_argument(argument: dict[str, Any], block: str = "") -> Any:
    """PyTorch's tagged union as a Python value.

    Args:
        argument: the union, a dict of one entry.
        block: put before each name, when the graph stands inside another.

    Raises:
        GraphError: for a kind that Lucid does not know.
    """
    ((kind, value),) = argument.items()
    if kind == "as_none":
        return None
    if kind == "as_optional_tensor":
        return parse_argument(value, block)
    if kind == "as_tensor":
        return Ref(block + value["name"])
    if kind == "as_tensors":
        return [Ref(block + tensor["name"]) for tensor in value]
    if kind == "as_optional_tensors":
        return [parse_argument(tensor, block) for tensor in value]
    if kind in ("as_sym_int", "as_sym_bool", "as_sym_float"):
        return _symbolic(value, block)
    if kind in ("as_sym_ints", "as_sym_bools", "as_sym_floats"):
        return [_symbolic(entry, block) for entry in value]
    if kind == "as_float":
        return float(value)  # JSON has no infinity: PyTorch writes "-Infinity"
    if kind == "as_floats":
        return [float(entry) for entry in value]
    if kind in _LITERALS:
        return value
    if kind == "as_scalar_type":
        if value not in SCALAR_TYPES:
            raise GraphError(f"PyTorch's dtype {value} is not MLX's")
        return SCALAR_TYPES[value]
    if kind in ("as_device", "as_layout", "as_memory_format"):
        return None  # memory is unified, and its order is MLX's
    raise GraphError(f"an argument of the kind {kind!r}")


_LITERALS = {"as_int", "as_ints", "as_bool", "as_bools", "as_string", "as_strings"}


def _symbolic(value: dict[str, Any], block: str) -> Any:
    ((kind, content),) = value.items()
    if kind == "as_name":
        return Ref(block + content)
    return float(content) if kind == "as_float" else content


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
