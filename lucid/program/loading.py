"""From an archive to a module."""

from __future__ import annotations

from collections import Counter
import os
from pathlib import Path
from typing import Any

from lucid.files.error import CheckpointError
from lucid.files.paths import open_file, to_path
from lucid.program.archive import Contents, read_contents
from lucid.program.graph import GraphError, Node, Ref, parse_argument, parse_nodes
from lucid.program.operations import SKIPPED, TABLE
from lucid.program.program import Inputs, Program
from lucid.program.pytree import parse_tree
from lucid.program.scopes import ListedProgram, fill, listed
import mlx.core as mx


def load_program(path: str | os.PathLike[str]) -> Program:
    """Load a network that `torch.export.save` wrote, without PyTorch.

    Its parameters and buffers have PyTorch's names. It is called, trained, cast,
    frozen, summarized and saved like any module; `train()` and `eval()` switch dropout
    and batch normalization whichever mode it was exported in. Only JSON and raw bytes
    are read, nothing in the file is executed.

    Args:
        path: the `.pt2` file, from
            `torch.export.save(torch.export.export(net, (x,)), "net.pt2")`.

    Returns:
        The network, in the mode that it was exported in.

    Raises:
        CheckpointError: if the file is damaged, or has operations that Lucid lacks: the
            message lists each with its count and the line of your code it is from.
        FileNotFoundError: if there is no such file.

    Example:
        >>> import lucid
        >>> net = lucid.load_program("net.pt2")          # doctest: +SKIP
        >>> net(lucid.zeros(1, 1, 64, 64, 64)).shape     # doctest: +SKIP
        (1, 2, 64, 64, 64)
    """
    place = to_path(path)
    with open_file(place) as file:
        contents = read_contents(file, place)
    try:
        return _program(contents, place)
    except GraphError as error:
        raise CheckpointError(
            place, f"has {error}, which Lucid does not know"
        ) from None
    except _MALFORMED as error:
        if isinstance(error, CheckpointError):
            raise
        problem = f"has a graph that is described wrongly ({error!r})"
        raise CheckpointError(place, problem) from error


_MALFORMED = (
    *(KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration),
    *(RecursionError, OverflowError),
)
"""What reading a graph raises that is not described as PyTorch describes one."""


def _program(contents: Contents, path: Path) -> Program:
    described = contents.model["graph_module"]
    nodes = parse_nodes(described["graph"]["nodes"])
    _check_known(nodes, path)
    nodes = [node for node in nodes if node.target not in SKIPPED]
    input_specs = described["signature"]["input_specs"]
    output_specs = described["signature"]["output_specs"]
    outputs = _outputs(output_specs)
    inputs = _inputs(contents, input_specs)
    mutations = _mutations(output_specs)
    _check_names(nodes, inputs, [*outputs, *map(Ref, mutations)])
    signature = described["module_call_graph"][0]["signature"]
    kind = ListedProgram if "" in listed(inputs.members.values()) else Program
    program = kind(
        nodes,
        inputs,
        outputs,
        mutations=mutations,
        in_tree=parse_tree(signature["in_spec"]),
        out_tree=parse_tree(signature["out_spec"]),
    )
    fill(program, contents, input_specs)
    program.keep_dtype()
    return program


def _outputs(specs: list[dict[str, Any]]) -> list[Any]:
    outputs = []
    for spec in specs:
        ((kind, content),) = spec.items()
        if kind == "user_output":
            outputs.append(parse_argument(content["arg"]))
        elif kind != "buffer_mutation":
            raise GraphError(f"an output of the kind {kind!r}")
    return outputs


def _check_known(nodes: list[Node], path: Path) -> None:
    unknown: Counter[str] = Counter()
    sources: dict[str, str] = {}
    for node in nodes:
        if node.functional not in TABLE and node.target not in SKIPPED:
            unknown[node.target] += 1
            sources.setdefault(node.target, node.source)
    if unknown:
        lines = [
            f"\n  {target}, {_often(count)}{_first(sources[target])}"
            for target, count in unknown.most_common()
        ]
        raise CheckpointError(
            path,
            f"has {len(unknown)} kinds of operation that Lucid lacks:{''.join(lines)}\n"
            "Write these lines of the network otherwise and export it again, or ask "
            "for the operation.",
        )


def _often(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _first(source: str) -> str:
    return f": {source}" if source else ""


def _inputs(contents: Contents, specs: list[dict[str, Any]]) -> Inputs:
    """Which values of the graph are the user's, and which the module's, by name."""
    users: list[str | None] = []
    members: dict[str, str] = {}
    constants: dict[str, mx.array] = {}
    for spec in specs:
        ((kind, content),) = spec.items()
        if kind == "user_input":
            argument = parse_argument(content["arg"])
            users.append(argument.name if isinstance(argument, Ref) else None)
        elif kind == "constant_input":
            users.append(None)
        elif kind in ("parameter", "buffer"):
            members[content["arg"]["name"]] = content[f"{kind}_name"]
        elif kind == "tensor_constant":
            name = content["tensor_constant_name"]
            constants[content["arg"]["name"]] = contents.constants[name]
        else:
            raise GraphError(f"an input of the kind {kind!r}")
    return Inputs(users, members, constants)


def _check_names(nodes: list[Node], inputs: Inputs, outputs: list[Any]) -> None:
    """Each value is made before it is read, so that a run cannot fail for a name."""
    known = {name for name in inputs.users if name is not None}
    known |= {*inputs.members, *inputs.constants}
    for node in nodes:
        missing = set(node.references()) - known
        if missing:
            raise GraphError(f"a value {min(missing)!r} that nothing makes")
        if node.in_place and not isinstance(next(iter(node.arguments.values())), Ref):
            raise GraphError(f"{node.target} on a value that is no array")
        known |= set(node.names())
    missing = {ref.name for ref in outputs if isinstance(ref, Ref)} - known
    if missing:
        raise GraphError(f"an output {min(missing)!r} that nothing makes")


def _mutations(specs: list[dict[str, Any]]) -> dict[str, str]:
    """From the values of a decomposed graph to the buffers that they replace."""
    mutations = {}
    for spec in specs:
        if "buffer_mutation" in spec:
            content = spec["buffer_mutation"]
            mutations[content["arg"]["name"]] = content["buffer_name"]
    return mutations
