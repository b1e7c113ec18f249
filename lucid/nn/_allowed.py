"""What a module may hold, and under which names."""

from __future__ import annotations

from typing import Any

from lucid._types import shown, text
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


def check_name(
    module: mlx.nn.Module, name: Any, numbers: bool = False, argument: str = "name"
) -> None:
    """Refuse what cannot name a new member of a module.

    Args:
        module: the module.
        name: of a parameter, buffer or module.
        numbers: whether the module has a place for members with numbers.
        argument: what the name was given as.

    Raises:
        TypeError: if it is no string.
        KeyError: if it is empty, holds a dot, or is an attribute already, as PyTorch.
        ValueError: for names that MLX does not keep.
    """
    kind = type(module).__name__
    said = f"`{argument}` (={shown(text(argument, name))})"
    if not name or "." in name:
        raise KeyError(f"{said} must not be empty nor hold a dot.")
    if hasattr(module, name):
        raise KeyError(f"{said} is an attribute of this {kind} already.")
    if name.startswith("_"):
        raise ValueError(
            f"{said} must not start with an underscore: MLX leaves such "
            "members out of a model."
        )
    if name.isdigit() and not numbers:
        raise ValueError(
            f"{said} must not be a number: nn.Sequential, nn.ModuleList "
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
