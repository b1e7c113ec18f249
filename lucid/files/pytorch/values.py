"""What a checkpoint's pickle becomes: values that do nothing.

Numbers, strings and containers are Python's own. Everything else is one of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Larger numbers hash alike where somebody wants them to, and a dict of those takes
# forever.
_LARGEST_KEY = 2**64


class RefusedError(Exception):
    """What cannot be read; the reader adds file and place."""


@dataclass(frozen=True)
class Global:
    """A function or class that is known by name, and never called."""

    name: str


@dataclass(eq=False)
class Placeholder:
    """Replaces a class that Lucid does not know, or an object of one.

    No code of the class was run. `arguments` are those that the object would have been
    made from, None for the class itself; `state` has its attributes, `items` the
    contents of a list or dict (as pairs) of this class.
    """

    name: str
    arguments: tuple[Any, ...] | None = None
    state: Any = None
    items: list[Any] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<placeholder for {self.name}>"


class Ordered(dict[Any, Any]):
    """A dict of another class than dict, such as OrderedDict; becomes a plain one."""


@dataclass(frozen=True)
class Storage:
    """The memory that tensors share: `length` items from `start` on of a named one."""

    key: str
    dtype: str | None  # None: bytes, whose tensors say what they are
    items: int
    start: int
    length: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage. Equal ones become one array."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    conjugate: bool
    negative: bool


@dataclass(eq=False)
class NumPyDtype:
    """`numpy.dtype`, before and after its byte order is known."""

    dtype: np.dtype


@dataclass(eq=False)
class NumPyArray:
    """`numpy.ndarray`, before and after its content is known."""

    array: np.ndarray | None = None


@dataclass(eq=False)
class ScriptObject:
    """An object of a class that the archive itself defines (TorchScript)."""

    name: str
    attributes: dict[Any, Any] = field(default_factory=dict)


def is_quick_key(value: Any) -> bool:
    """Whether dicts and sets find the value quickly, whoever chose it."""
    if isinstance(value, int):
        return abs(value) < _LARGEST_KEY
    return value is None or isinstance(value, str | bytes | float | Placeholder)
