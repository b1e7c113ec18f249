"""What of a graph can be computed once, and how long its values are needed."""

from __future__ import annotations

from typing import Any, NamedTuple

from lucid.program.graph import Node, references
from lucid.program.operations import RANDOM, VIEWS


class Plan(NamedTuple):
    """A graph in the order that it runs.

    Attributes:
        constant: nodes that depend on no input and no array of the module.
        constant_outputs: what other nodes or the user read of them.
        nodes: the other nodes.
        finished: for each of those, the names that no later one reads.
        viewed: names of views that must see, or be seen in, what is written in place.
    """

    constant: list[Node]
    constant_outputs: list[str]
    nodes: list[Node]
    finished: list[list[str]]
    viewed: frozenset[str]


def make_plan(
    nodes: list[Node], users: list[str | None], members: set[str], outputs: list[Any]
) -> Plan:
    """Sort the nodes; see `Plan`.

    Args:
        nodes: of the graph, in order.
        users: the names of the user's inputs.
        members: the names of the module's arrays.
        outputs: what the graph returns, and what becomes a buffer's new value.
    """
    family = _families(nodes)
    written = {
        family.get(node.written, node.written) for node in nodes if node.in_place
    }
    viewed = {
        name
        for node in nodes
        if node.target in VIEWS
        for name in node.names()
        if family.get(name, name) in written
    }
    varying = _varying(nodes, users, members, family)
    constant = [node for node in nodes if not varying & _around(node, family)]
    rest = [node for node in nodes if varying & _around(node, family)]
    made = {name for node in constant for name in node.names()}
    read = {name for node in rest for name in node.references()}
    last = set(references(outputs))
    begins = read - {name for node in rest for name in node.names()} - members
    begins -= set(users)
    return Plan(
        constant=constant,
        constant_outputs=sorted(begins | (made & last)),
        nodes=rest,
        finished=_finished(rest, keep=last | members | begins, families=viewed),
        viewed=frozenset(viewed),
    )


def _families(nodes: list[Node]) -> dict[str, str]:
    """From a name to the first of those that share its memory."""
    family: dict[str, str] = {}
    for node in nodes:
        if node.target in VIEWS or node.in_place:
            source = next(references(next(iter(node.arguments.values()))), None)
            for name in node.names():
                if source is not None:
                    family[name] = family.get(source, source)
    return family


def _around(node: Node, family: dict[str, str]) -> set[str]:
    """The families that a node reads and makes."""
    names = {*node.references(), *node.names()}
    return {family.get(name, name) for name in names}


def _varying(
    nodes: list[Node],
    users: list[str | None],
    members: set[str],
    family: dict[str, str],
) -> set[str]:
    """The families that depend on an input, an array of the module or chance."""
    varying = {name for name in users if name is not None} | members
    changed = True
    while changed:
        before = len(varying)
        for node in nodes:
            reads = {family.get(name, name) for name in node.references()}
            if node.target in RANDOM or varying & reads:
                varying |= _made(node, family)
        changed = len(varying) > before
    return varying


def _made(node: Node, family: dict[str, str]) -> set[str]:
    made = {family.get(n, n) for n in node.names()}
    if node.in_place:
        made.add(family.get(node.written, node.written))
    return made


def _finished(nodes: list[Node], keep: set[str], families: set[str]) -> list[list[str]]:
    """For each node the names that it is the last to read or make."""
    finished: list[list[str]] = []
    seen = set(keep) | families
    for node in reversed(nodes):
        names = {*node.references(), *node.names()}
        finished.append(sorted(names - seen))
        seen |= names
    return finished[::-1]
