"""Python's own classes, as pickles spell them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from lucid.files.pytorch.values import Global, Ordered, RefusedError, is_quick_key

Charge: TypeAlias = Callable[[int], None]
"""Called with the number of bytes or items that are about to be copied."""

# What a defaultdict makes its values of.
FACTORIES = {f"builtins.{kind}" for kind in ("dict", "float", "int", "list", "str")}


def _ordered_dict(arguments: tuple[Any, ...], charge: Charge) -> Ordered:
    match arguments:
        case ():
            return Ordered()
        case (list(pairs),):  # as Python 2 writes it
            charge(len(pairs))
            result = Ordered()
            for pair in pairs:
                if not isinstance(pair, list | tuple) or len(pair) != 2:
                    break
                if not isinstance(pair[0], str):
                    break
                result[pair[0]] = pair[1]
            else:
                return result
    raise RefusedError("has an OrderedDict of no pairs")


def _default_dict(arguments: tuple[Any, ...], charge: Charge) -> Ordered:
    match arguments:
        case () | (None,):
            return Ordered()
        case (Global(name),) if name in FACTORIES | {"builtins.set"}:
            return Ordered()
    raise RefusedError("has a defaultdict of an unknown factory")


def _counter(arguments: tuple[Any, ...], charge: Charge) -> dict[Any, Any]:
    match arguments:
        case ():
            return Ordered()
        case (dict(counts),):
            return counts
    raise RefusedError("has a Counter of no dict")


def _items(arguments: tuple[Any, ...], charge: Charge) -> list[Any]:
    """The items of a set."""
    match arguments:
        case ():
            return []
        case (list(items),) if all(map(is_quick_key, items)):
            charge(len(items))
            return items
    raise RefusedError("has a set of what cannot be in one")


def _complex(arguments: tuple[Any, ...], charge: Charge) -> complex:
    match arguments:
        case (float(real), float(imaginary)):
            return complex(real, imaginary)
    raise RefusedError("has a complex number of no two numbers")


def _encode(arguments: tuple[Any, ...], charge: Charge) -> bytes:
    """How pickles before protocol 3 spell bytes."""
    match arguments:
        case (str(text), "latin1" | "latin-1"):
            charge(len(text))
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                pass
    raise RefusedError("has bytes that are none")


def _bytes(arguments: tuple[Any, ...], charge: Charge) -> bytes:
    match arguments:
        case ():
            return b""
        case (bytes(data),):
            charge(len(data))
            return data
        case (str(), _):
            return _encode(arguments, charge)
    raise RefusedError("has bytes that are none")


CALLS: dict[str, Callable[[tuple[Any, ...], Charge], Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": _default_dict,
    "collections.Counter": _counter,
    "builtins.set": lambda arguments, charge: set(_items(arguments, charge)),
    "builtins.frozenset": lambda arguments, charge: frozenset(
        _items(arguments, charge)
    ),
    "builtins.complex": _complex,
    "builtins.bytes": _bytes,
    "builtins.bytearray": lambda arguments, charge: bytearray(
        _bytes(arguments, charge)
    ),
    "_codecs.encode": _encode,
}
