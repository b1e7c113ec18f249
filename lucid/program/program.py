"""The module that runs a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lucid import nn
from lucid.nn._members import array_members
from lucid.nn.summary import LayerSummary
from lucid.program.cells import Cell
from lucid.program.folding import Plan, make_plan
from lucid.program.graph import Node, Ref
from lucid.program.operations import ATTENTION, FLOATING, MODES, SYMBOLS, TABLE
from lucid.program.pytree import Tree
from lucid.program.work import summary_row
import mlx.core as mx


class Inputs(NamedTuple):
    """The values that a graph begins with.

    Attributes:
        users: the names of the user's, in order; None for one that is a constant.
        members: from a value's name to the dotted name of the module's array.
        constants: the arrays that the network's code spells out.
    """

    users: list[str | None]
    members: dict[str, str]
    constants: dict[str, mx.array]


class Program(nn.Module):
    """A network that PyTorch exported; made by `lucid.load_program`.

    It is called with the arguments that the network was exported with, of any sizes
    that the network's own code does not fix. Parameters and buffers have PyTorch's
    names. `train()` and `eval()` switch its dropouts and batch normalizations.
    """

    _plan: Plan
    _inputs: Inputs
    _outputs: list[Any]
    _mutations: dict[str, str]
    _in_tree: Tree
    _out_tree: Tree
    _exported_dtype: str
    exported_in_training: bool | None = None

    def __init__(
        self,
        nodes: list[Node],
        inputs: Inputs,
        outputs: list[Any],
        mutations: dict[str, str],
        in_tree: Tree,
        out_tree: Tree,
    ):
        super().__init__()
        kept = [*outputs, *map(Ref, mutations)]
        self._plan = make_plan(nodes, inputs.users, set(inputs.members), kept)
        # Constants are no members: neither saved nor found by MLX's tree.
        self.__dict__.update(_inputs=inputs, _outputs=outputs)
        self._mutations = mutations
        self._in_tree, self._out_tree = in_tree, out_tree
        self.exported_in_training = _mode(nodes, inputs.members)
        if self.exported_in_training is False:
            self.eval()

    def operations(self) -> dict[str, int]:
        """How often each of PyTorch's operations is in the graph."""
        counts: dict[str, int] = {}
        for node in (*self._plan.constant, *self._plan.nodes):
            counts[node.target] = counts.get(node.target, 0) + 1
        return counts

    def input_names(self) -> list[str]:
        """The graph's names of the inputs, in order."""
        return [name or "(constant)" for name in self._inputs.users]

    def output_count(self) -> int:
        """How many arrays and numbers it returns."""
        return len(self._outputs)

    def report_operations(self, report: Callable[[LayerSummary], None]) -> None:
        """Have each operation with parameters reported, for `lucid.summary`."""
        self.__dict__["_report"] = report

    def extra_repr(self) -> str:
        return f"{len(self._plan.nodes)} operations"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        members = {member.name: member.value for member in array_members(self)}
        first = self._first_dtype(members)
        dtype = mx.float32 if str(first) == self._exported_dtype else first
        values: dict[str, Any] = dict(self._constants(dtype))
        for value, name in self._inputs.members.items():
            values[value] = Cell(members[name])
        leaves = self._leaves(args, kwargs)
        for name, leaf in zip(self._inputs.users, leaves, strict=True):
            if name is not None:
                values[name] = Cell(leaf) if isinstance(leaf, mx.array) else leaf
        for node, finished in zip(self._plan.nodes, self._plan.finished, strict=True):
            self._step(node, values, dtype)
            for name in finished:
                del values[name]
        if self.training or not self.exported_in_training:
            self._update_buffers(values, members)
        results = (_read(resolve(output, values)) for output in self._outputs)
        return self._out_tree.unflatten(results)

    def keep_dtype(self) -> None:
        """Remember which dtype the module has before anybody casts it."""
        members = {member.name: member.value for member in array_members(self)}
        self._exported_dtype = str(self._first_dtype(members))

    def _first_dtype(self, members: dict[str, mx.array]) -> mx.Dtype:
        """The dtype of parameters, or else of buffers; float32 without any."""
        dtypes = (members[name].dtype for name in self._inputs.members.values())
        floating = (d for d in dtypes if mx.issubdtype(d, mx.floating))
        return next(floating, mx.float32)

    def _leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        positional, named = self._in_tree.children
        if len(args) != len(positional.children) or set(kwargs) != set(named.keys):
            wanted = f"{len(positional.children)} arguments"
            if named.keys:
                wanted += f" and {', '.join(map(repr, named.keys))} by name"
            raise TypeError(
                f"the program was exported with {wanted}, and is called with "
                f"{len(args)}{' and ' + ', '.join(kwargs) if kwargs else ''}."
            )
        return [
            *positional.flatten(args, "the arguments"),
            *named.flatten(kwargs, "the named arguments"),
        ]

    def _step(self, node: Node, values: dict[str, Any], dtype: mx.Dtype) -> None:
        arguments = {k: resolve(v, values) for k, v in node.arguments.items()}
        target = node.functional
        flag = MODES.get(target)
        if flag is not None:
            arguments[flag] = self._flag(arguments, arguments[flag])
        if target == ATTENTION and not self.training and self.exported_in_training:
            arguments["dropout_p"] = 0.0
        read = {k: _read(v) for k, v in arguments.items()}
        result = _computed(node, target, read)
        if target in FLOATING and result.dtype == mx.float32:
            result = result.astype(dtype)  # what was exported as float32 was cast since
        report = self.__dict__.get("_report")
        if report is not None:
            row = summary_row(node, self._inputs.members, read, result)
            if row is not None:
                report(row)
        self._store(node, arguments, result, values)

    def _store(
        self, node: Node, arguments: dict[str, Any], result: Any, values: dict[str, Any]
    ) -> None:
        """Put what a node made under its names: written in place, a view, or new."""
        if node.in_place:
            cell = values[node.written]
            cell.write(mx.broadcast_to(result, cell.read().shape))
            _assign(node.outputs, [cell], values)
        elif self._plan.viewed.intersection(node.names()):
            _assign(node.outputs, [_views(node.functional, arguments, result)], values)
        else:
            multiple = len(node.outputs) > 1 or isinstance(node.outputs[0], list)
            several = isinstance(result, tuple | list) and multiple
            if several and len(node.outputs) == 1:
                result = [result]
            _assign(node.outputs, result if several else [result], values)

    def _flag(self, arguments: dict[str, Any], exported: bool) -> bool:
        """Whether dropout drops, or a norm takes the batch's statistics, right now.

        A flag unlike the rest of the export was set by the network's code, and stays.
        """
        if _has_no_statistics(arguments):
            return True
        return self.training if exported == self.exported_in_training else exported

    def _constants(self, dtype: mx.Dtype) -> dict[str, Any]:
        """What does not depend on inputs or parameters, computed once for a dtype."""
        held = self.__dict__.get("_folded")
        if held is None or held[0] != str(dtype):
            values: dict[str, Any] = {
                name: Cell(array.astype(dtype) if array.dtype == mx.float32 else array)
                for name, array in self._inputs.constants.items()
            }
            for node in self._plan.constant:
                self._step(node, values, dtype)
            kept = {name: _read(values[name]) for name in self._plan.constant_outputs}
            mx.eval([value for value in kept.values() if isinstance(value, mx.array)])
            held = self.__dict__["_folded"] = (str(dtype), kept)
        return {
            name: Cell(value) if isinstance(value, mx.array) else value
            for name, value in held[1].items()
        }

    def _update_buffers(
        self, values: dict[str, Any], members: dict[str, mx.array]
    ) -> None:
        """In place, as Lucid's own layers move their running statistics."""
        for value, name in self._inputs.members.items():
            cell = values.get(value)
            if isinstance(cell, Cell) and cell.version > 0:
                members[name][...] = cell.read()
        for value, name in self._mutations.items():
            members[name][...] = values[value].read().astype(members[name].dtype)


def _mode(nodes: list[Node], members: dict[str, str]) -> bool | None:
    """Whether the network was exported in training mode; None if nothing tells.

    Its dropouts and norms tell, and where they disagree, whether batches are counted.
    """
    flags = {
        bool(node.arguments[MODES[node.target]])
        for node in nodes
        if node.target in MODES
        and not _has_no_statistics(node.arguments)
        and node.arguments.get("p") != 0
    }
    if len(flags) < 2:
        return next(iter(flags), None)
    written = {members.get(node.written, "") for node in nodes if node.in_place}
    return any(name.endswith("num_batches_tracked") for name in written)


def _has_no_statistics(arguments: dict[str, Any]) -> bool:
    """Whether they are of a norm that always takes those of the batch."""
    return "running_mean" in arguments and arguments["running_mean"] is None


def _views(target: str, arguments: dict[str, Any], shown: Any) -> Any:
    """Cells that see what is written into the first argument; `shown` now."""
    (first, parent), *others = arguments.items()
    rest = {name: _read(value) for name, value in others}

    def view(x: mx.array) -> Any:
        return TABLE[target](**{first: x}, **rest)

    if isinstance(shown, mx.array):
        return Cell(shown, parent, view)
    return [Cell(a, parent, lambda x, i=i: view(x)[i]) for i, a in enumerate(shown)]


def resolve(argument: Any, values: dict[str, Any]) -> Any:
    """An argument with the values in place of their names."""
    if isinstance(argument, Ref):
        return values[argument.name]
    if isinstance(argument, list):
        return [resolve(entry, values) for entry in argument]
    return argument


def _computed(node: Node, target: str, arguments: dict[str, Any]) -> Any:
    """What the table's function makes of these; its errors say whose line it is."""
    try:
        if target in SYMBOLS:
            return TABLE[target](*arguments.values())
        return TABLE[target](**arguments)
    except (TypeError, ValueError) as error:
        where = f" ({node.source})" if node.source else ""
        raise type(error)(f"{node.target}{where}: {error}") from error


def _read(value: Any) -> Any:
    if isinstance(value, Cell):
        return value.read()
    return [_read(entry) for entry in value] if isinstance(value, list) else value


def _assign(names: list[Any], results: Any, values: dict[str, Any]) -> None:
    for name, result in zip(names, results, strict=False):
        if isinstance(name, list):
            _assign(name, result, values)
        elif name is not None:
            is_array = isinstance(result, mx.array)
            values[name] = Cell(result) if is_array else result
