"""What a model holds, under PyTorch's names and MLX's: one walk, used by all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn


def layer_names(module: mlx.nn.Module) -> list[str] | None:
    """The names of what a container lists under `layers`; of other modules, None.

    Layers that were put into its list behind its back are numbered.
    """
    names = module.__dict__.get("_layer_names")
    if names is None:
        return None
    count = len(module["layers"])
    return [*names[:count], *map(str, range(len(names), count))]


class Entry(NamedTuple):
    """An array or module right inside a module.

    The name is a state dict's (`0`), the path MLX's (`layers.0`).
    """

    name: str
    path: str
    value: Any


def entries(module: mlx.nn.Module) -> list[Entry]:
    """The arrays and modules right inside a module, arrays first, as in PyTorch."""
    arrays: list[Entry] = []
    modules: list[Entry] = []
    # Not module.items(): a container's may be a user's.
    for key, value in dict.items(module):
        if key.startswith("_"):
            continue  # private to the module, and to MLX's parameters()
        if isinstance(value, mx.array):
            arrays.append(Entry(key, key, value))
        elif isinstance(value, mlx.nn.Module):
            modules.append(Entry(key, key, value))
        elif value and isinstance(value, dict | list):
            names = layer_names(module) if key == "layers" else None
            for path, inner in _flattened(value, f"{key}."):
                name = path if names is None else _listed_name(names, path)
                of_kind = arrays if isinstance(inner, mx.array) else modules
                of_kind.append(Entry(name, path, inner))
    return arrays + modules


def _listed_name(names: list[str], path: str) -> str:
    """layers.0 -> 0, or what else the layer is called."""
    _, index, *rest = path.split(".", 2)
    return ".".join((names[int(index)], *rest))


def _flattened(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The arrays and modules of a plain list or dict, those inside it descended."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, mx.array | mlx.nn.Module):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict | list):
            yield from _flattened(value, f"{prefix}{key}.")


def named_entries(module: mlx.nn.Module) -> list[tuple[str, Any]]:
    """(name, array or module) right inside a module, arrays first, as in PyTorch."""
    return [(entry.name, entry.value) for entry in entries(module)]


def named_layers(module: mlx.nn.Module) -> list[tuple[str, Callable[..., Any]]]:
    """(name, module) right inside a module; of a Sequential, functions too."""
    names = layer_names(module)
    if names is not None:
        pairs: Iterable[tuple[str, Any]] = zip(names, module["layers"], strict=True)
        return [(name, layer) for name, layer in pairs if callable(layer)]
    return [
        (name, value)
        for name, value in named_entries(module)
        if isinstance(value, mlx.nn.Module)
    ]


class Children(dict[str, Any]):
    """The modules right inside a module, for PyTorch's ways and for MLX's.

    It iterates over modules and contains modules, as PyTorch's does; its keys, values
    and items are MLX's nested lists and dicts of them.
    """

    def __init__(self, tree: dict[str, Any], layers: Iterable[Callable[..., Any]]):
        super().__init__(tree)
        self._layers = list(layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, str):
            return super().__contains__(item)
        return any(layer is item for layer in self._layers)


class Member(NamedTuple):
    """An array or module somewhere inside a model.

    `name` is a state dict's (`encoder.0`), `place` MLX's (`encoder.layers.0`); `path`
    is MLX's from the owner, the module that it stands in (`layers.0`).
    """

    name: str
    place: str
    owner: mlx.nn.Module
    path: str
    value: Any


def walk(module: mlx.nn.Module, prefix: str = "") -> list[Member]:
    """All that a module holds, in PyTorch's order; what is shared, under each name.

    Args:
        module: where to begin.
        prefix: put before every name.
    """
    found: list[Member] = []
    _walk(module, prefix, "", found)
    return found


def _walk(module: mlx.nn.Module, prefix: str, place: str, found: list[Member]) -> None:
    for name, path, value in entries(module):
        found.append(Member(prefix + name, place + path, module, path, value))
        if isinstance(value, mlx.nn.Module):
            _walk(value, f"{prefix}{name}.", f"{place}{path}.", found)


def array_members(module: mlx.nn.Module) -> list[Member]:
    """All arrays that a module holds, in PyTorch's order."""
    return [member for member in walk(module) if isinstance(member.value, mx.array)]


def named_tree(
    module: mlx.nn.Module, name: str = ""
) -> Iterator[tuple[str, mlx.nn.Module]]:
    """(name, module) of a module and all inside it; a shared one under each name."""
    yield name, module
    for member in walk(module, f"{name}." if name else ""):
        if isinstance(member.value, mlx.nn.Module):
            yield member.name, member.value


def named_arrays(
    module: mlx.nn.Module,
) -> Iterator[tuple[str, mlx.nn.Module, str, mx.array]]:
    """(dotted name, owner, path in it, array) of all that a model holds."""
    for name, _, owner, path, array in array_members(module):
        yield name, owner, path, array


def assign(owner: Any, path: str, value: Any) -> None:
    """Set an array or module, where the path may run through plain lists and dicts."""
    *keys, last = path.split(".")
    for key in keys:
        owner = owner[int(key)] if isinstance(owner, list) else owner[key]
    owner[int(last) if isinstance(owner, list) else last] = value


def each_once(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Pairs whose second has not come before (shared modules, tied arrays)."""
    seen: dict[int, None] = {}
    return [
        pair
        for pair in pairs
        if id(pair[1]) not in seen and seen.setdefault(id(pair[1])) is None
    ]


def children_first(module: mlx.nn.Module, seen: set[int]) -> Iterator[Any]:
    """A module after all inside it, each once."""
    seen.add(id(module))
    for _, child in named_entries(module):
        if isinstance(child, mlx.nn.Module) and id(child) not in seen:
            yield from children_first(child, seen)
    yield module


def mlx_names(module: mlx.nn.Module) -> dict[str, str]:
    """From the names of MLX's flattened `parameters()` to those of the state dict."""
    return {member.place: member.name for member in array_members(module)}


def buffer_names(module: mlx.nn.Module) -> frozenset[str]:
    """Which arrays of a module are never trained."""
    if isinstance(module, mlx.nn.BatchNorm):
        return frozenset(("running_mean", "running_var"))
    return getattr(module._no_grad, "buffers", frozenset())


def unsaved_names(module: mlx.nn.Module) -> frozenset[str]:
    """Which arrays of a module a state dict leaves out."""
    return getattr(module, "_unsaved", frozenset())
