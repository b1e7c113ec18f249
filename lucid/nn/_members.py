"""What a module holds, under PyTorch's names, and what it may not hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

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
    return True


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
    """The names of a Sequential's or ModuleList's layers; of any other module, None.

    Layers that were put into its list behind its back are numbered.
    """
    names = getattr(module, "_layer_names", None)
    if names is None:
        return None
    count = len(module["layers"])
    return [*names[:count], *map(str, range(len(names), count))]


def named_entries(module: mlx.nn.Module) -> list[tuple[str, Any]]:
    """(name, array or module) right inside a module, arrays first, as in PyTorch."""
    entries = dict(module.items())
    layers = []
    names = layer_names(module)
    if names is not None:
        layers = zip(names, entries.pop("layers"), strict=True)
    return sorted(
        (
            (name, value)
            for name, value in (*_flattened(entries), *layers)
            if isinstance(value, mx.array | mlx.nn.Module)
        ),
        key=lambda entry: isinstance(entry[1], mlx.nn.Module),
    )


def _flattened(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays and modules of a module's dict, plain lists and dicts descended."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        name = f"{prefix}{key}"
        if name.startswith("_"):
            continue  # private to the module, and to MLX's parameters()
        if isinstance(value, mx.array | mlx.nn.Module):
            yield name, value
        elif isinstance(value, dict | list):
            yield from _flattened(value, f"{name}.")


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
    """(dotted name, owner, name in it, array) of all that a model holds."""
    for prefix, owner in named_tree(module):
        for name, value in named_entries(owner):
            if isinstance(value, mx.array):
                yield f"{prefix}.{name}" if prefix else name, owner, name, value


def each_once(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Pairs whose second has not come before (shared modules, tied weights)."""
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
    numbered = layer_names(module) or []
    for name, value in named_entries(module):
        path = f"layers.{numbered.index(name)}" if name in numbered else name
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
