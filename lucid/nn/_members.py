"""What a module holds, under PyTorch's names and MLX's, and what it may not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn


def holds_members(value: Any) -> bool:
    """Whether arrays or modules are somewhere in a tuple, list or dict."""
    if isinstance(value, mx.array | mlx.nn.Module):
        return True
    if isinstance(value, dict):
        return any(map(holds_members, value.values()))
    return isinstance(value, tuple | list) and any(map(holds_members, value))


def check_member(module: mlx.nn.Module, name: str, value: Any) -> bool:
    """Whether `module.name = value` belongs in MLX's dict of arrays and modules.

    Raises:
        AttributeError: for a member that MLX would lose or confuse: a name its dict
            already has a method for, digits alone, a dot, or members in a tuple.
        ValueError: for a module that would contain itself.
    """
    if not isinstance(value, mx.array | dict | list | tuple):
        return False
    if not holds_members(value):
        return not isinstance(value, tuple)
    kind = type(module).__name__
    if _tuple_inside(value):
        raise AttributeError(
            f"`{kind}.{name}`: MLX does not look for parameters inside tuples; use a "
            "list, nn.ModuleList or nn.Sequential."
        )
    if isinstance(getattr(type(module), name, None), property):
        return False
    if hasattr(type(module), name):
        raise AttributeError(
            f"`{kind}.{name}` is an attribute of the class {kind}, which would hide "
            "the array or module; choose another name."
        )
    if name.startswith("_") and not isinstance(value, mx.array):
        raise AttributeError(
            f"`{kind}.{name}`: MLX leaves what begins with an underscore out of a "
            "model; a module under such a name would not be trained nor saved."
        )
    if _bad_key_inside(value):
        raise AttributeError(
            f"`{kind}.{name}`: the keys of a dict of arrays or modules must be strings "
            "that hold no dot and are no numbers."
        )
    if not name or "." in name or name.isdigit():
        raise AttributeError(
            f"`{name}` cannot name a parameter or module: names must not be empty, "
            "hold a dot or be a number (nn.Sequential and nn.ModuleList number layers)."
        )
    if "_no_grad" not in module.__dict__:
        raise AttributeError(f"call super().__init__() in {kind} before assigning.")
    check_no_cycle(module, name, value)
    return True


def check_name(module: mlx.nn.Module, name: Any, numbers: bool = False) -> None:
    """Refuse what cannot name a new member of a module.

    Args:
        module: the module.
        name: of a parameter, buffer or module.
        numbers: whether the module has a place for members with numbers.

    Raises:
        TypeError: if it is no string.
        KeyError: if it is empty, holds a dot, or is an attribute already, as PyTorch.
        ValueError: for names that MLX does not keep.
    """
    kind = type(module).__name__
    if not isinstance(name, str):
        raise TypeError(f"`name` (={name!r}) must be a string.")
    if not name or "." in name:
        raise KeyError(f"`name` (={name!r}) must not be empty nor hold a dot.")
    if hasattr(module, name):
        raise KeyError(f"`name` (={name!r}) is an attribute of this {kind} already.")
    if name.startswith("_"):
        raise ValueError(
            f"`name` (={name!r}) must not start with an underscore: MLX leaves such "
            "members out of a model."
        )
    if name.isdigit() and not numbers:
        raise ValueError(
            f"`name` (={name!r}) must not be a number: nn.Sequential, nn.ModuleList "
            "and nn.ParameterList number what they hold."
        )


def check_no_cycle(module: mlx.nn.Module, name: str, value: Any) -> None:
    """Refuse a module for a part of itself: no walk over the model would end."""
    if isinstance(value, dict | list) and _holds(value, module):
        raise ValueError(
            f"`{type(module).__name__}.{name}`: a module cannot contain itself."
        )


def _holds(value: dict[str, Any] | list[Any], module: mlx.nn.Module) -> bool:
    """Whether `value` is `module`, or has it somewhere inside."""
    if value is module:
        return True
    inside = value.values() if isinstance(value, dict) else value
    return any(isinstance(v, dict | list) and _holds(v, module) for v in inside)


def _tuple_inside(value: Any) -> bool:
    if isinstance(value, mlx.nn.Module):
        return False
    if isinstance(value, tuple):
        return holds_members(value)
    children = value.values() if isinstance(value, dict) else value
    return isinstance(value, dict | list) and any(map(_tuple_inside, children))


def _bad_key_inside(value: Any) -> bool:
    """Whether a plain dict in there has keys that a dotted name cannot hold."""
    if isinstance(value, mlx.nn.Module) or not isinstance(value, dict | list):
        return False
    if isinstance(value, dict):
        sound = (isinstance(k, str) and "." not in k and not k.isdigit() for k in value)
        return not all(sound) or any(map(_bad_key_inside, value.values()))
    return any(map(_bad_key_inside, value))


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
    names = layer_names(module)
    arrays: list[Entry] = []
    modules: list[Entry] = []
    for path, value in _flattened(module):
        name = path
        if names is not None and path.startswith("layers."):
            index, *rest = path.removeprefix("layers.").split(".", 1)
            name = ".".join((names[int(index)], *rest))
        of_kind = arrays if isinstance(value, mx.array) else modules
        of_kind.append(Entry(name, path, value))
    return arrays + modules


def _flattened(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays and modules of a module's dict, plain lists and dicts descended."""
    # Not tree.items(): a container's may be a user's.
    pairs = dict.items(tree) if isinstance(tree, dict) else enumerate(tree)
    for key, value in pairs:
        name = f"{prefix}{key}"
        if name.startswith("_"):
            continue  # private to the module, and to MLX's parameters()
        if isinstance(value, mx.array | mlx.nn.Module):
            yield name, value
        elif isinstance(value, dict | list):
            yield from _flattened(value, f"{name}.")


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


def named_tree(
    module: mlx.nn.Module, name: str = ""
) -> Iterator[tuple[str, mlx.nn.Module]]:
    """(name, module) of a module and all inside it; a shared one under each name."""
    yield name, module
    for child_name, child in named_entries(module):
        if isinstance(child, mlx.nn.Module):
            yield from named_tree(child, f"{name}.{child_name}" if name else child_name)


def named_arrays(
    module: mlx.nn.Module,
) -> Iterator[tuple[str, mlx.nn.Module, str, mx.array]]:
    """(dotted name, owner, path in it, array) of all that a model holds."""
    for prefix, owner in named_tree(module):
        for name, path, value in entries(owner):
            if isinstance(value, mx.array):
                yield f"{prefix}.{name}" if prefix else name, owner, path, value


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


def mlx_names(
    module: mlx.nn.Module, ours: str = "", theirs: str = ""
) -> dict[str, str]:
    """From the names of MLX's flattened `parameters()` to those of the state dict."""
    names: dict[str, str] = {}
    for name, path, value in entries(module):
        if isinstance(value, mx.array):
            names[theirs + path] = ours + name
        else:
            names |= mlx_names(value, f"{ours}{name}.", f"{theirs}{path}.")
    return names


def buffer_names(module: mlx.nn.Module) -> frozenset[str]:
    """Which arrays of a module are never trained."""
    if isinstance(module, mlx.nn.BatchNorm):
        return frozenset(("running_mean", "running_var"))
    return getattr(module._no_grad, "buffers", frozenset())


def unsaved_names(module: mlx.nn.Module) -> frozenset[str]:
    """Which arrays of a module a state dict leaves out."""
    return getattr(module, "_unsaved", frozenset())
