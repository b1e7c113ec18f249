"""The closed list of names that a checkpoint may hold, and the values they stand for.

No name is ever imported and no function of a file's choice is called. A name that is in
none of the tables is refused, or becomes a `Placeholder` where the caller asked for it.
"""

from __future__ import annotations

from typing import Any

from lucid.files.pytorch import numpy_values, plain, tensors
from lucid.files.pytorch.values import (
    Global,
    Ordered,
    Placeholder,
    RefusedError,
    Storage,
)

_CALLS = plain.CALLS | numpy_values.CALLS | tensors.CALLS | tensors.OTHER_CALLS
# What may stand as a value by itself.
VALUES: dict[str, Any] = tensors.DTYPE_NAMES | numpy_values.SCALAR_TYPES
_KNOWN = (
    _CALLS.keys()
    | VALUES.keys()
    | tensors.STORAGES.keys()
    | tensors.TYPES
    | plain.FACTORIES
    | {"numpy.ndarray"}
)
# Modules that changed their names.
_RENAMED = {"__builtin__": "builtins", "numpy._core": "numpy.core"}


class Known:
    """Makes values of the names that are known: the `Makers` of a machine.

    Args:
        unknown: `"error"` or `"skip"`, for other names.
        size: bytes of the pickle; copies of its parts may not need more.
    """

    def __init__(self, unknown: str, size: int):
        self.unknown, self.left = unknown, size
        self.storages: dict[str, Storage] = {}

    def charge(self, amount: int) -> None:
        """Count what is copied: a shared part could be copied without end."""
        self.left -= amount
        if self.left < 0:
            raise RefusedError("unfolds to more than it holds")

    def find(self, name: str) -> Any:
        for old, new in _RENAMED.items():
            if name.startswith(f"{old}."):
                name = new + name[len(old) :]
        if name in _KNOWN:
            return Global(name)
        if self.unknown == "skip":
            return Placeholder(name)
        raise RefusedError(
            f"holds {name}, which is neither a tensor nor a plain container. "
            'Load with unknown="skip" for a placeholder in its place, or save a plain '
            "state dict: torch.save(model.state_dict(), path)"
        )

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        if isinstance(function, Placeholder):
            return self.new(function, arguments)
        if not isinstance(function, Global) or function.name not in _CALLS:
            raise RefusedError("calls what is no function that is known")
        return _CALLS[function.name](arguments, self.charge)

    def new(self, kind: Any, arguments: tuple[Any, ...]) -> Any:
        if isinstance(kind, Placeholder) and kind.arguments is None:
            return Placeholder(kind.name, arguments)
        raise RefusedError("makes an object of what is no class that is known")

    def build(self, value: Any, state: Any) -> None:
        if isinstance(value, Placeholder) and value.arguments is not None:
            value.state = state
        elif type(value) in numpy_values.BUILDS:
            numpy_values.BUILDS[type(value)](value, state, self.charge)
        elif not isinstance(value, Ordered) or not isinstance(state, dict):
            # An OrderedDict's attributes, such as a state dict's `_metadata`, are left.
            raise RefusedError("sets the attributes of what has none")

    def persistent(self, identity: Any) -> Any:
        match identity:
            case ("module", Placeholder() as kind, *_):  # with the class's source
                return kind
        storage = tensors.storage(identity)
        whole = Storage(storage.key, storage.dtype, storage.items, 0, storage.items)
        if self.storages.setdefault(storage.key, whole) != whole:
            raise RefusedError("has a storage of two kinds")
        return storage
