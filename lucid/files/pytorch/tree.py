"""From inert values to plain containers of arrays, numbers and strings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lucid.files.arrays import to_mlx
from lucid.files.pytorch.known import VALUES
from lucid.files.pytorch.values import (
    Global,
    NumPyArray,
    NumPyDtype,
    Placeholder,
    RefusedError,
    ScriptObject,
    Storage,
    Tensor,
)
import mlx.core as mx

_DEEPEST = 100
# What containers may unfold to that are shared, in containers that are shared again.
_MOST_ENTRIES = 2_000_000
_CONTAINERS = (dict, list, tuple, set, frozenset, Placeholder)


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    """What a container holds, with the key of each; nothing for other values."""
    if isinstance(value, dict):
        yield from value.items()
        yield from (("a key", key) for key in value if not isinstance(key, str))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from enumerate(value)
    elif isinstance(value, Placeholder):
        yield "arguments", value.arguments
        yield "state", value.state
        yield "items", value.items


class Survey:
    """One walk over a value: its tensors, and whether it can be walked at all.

    Raises:
        RefusedError: if it contains itself, is nested too deep, unfolds without end,
            or has something in it that is no value.
    """

    def __init__(self, value: Any):
        self.tensors: dict[Tensor, None] = {}
        self._path: list[Any] = []
        self._open: set[int] = set()
        self._closed: dict[int, tuple[int, int]] = {}
        self._visit(value)

    def _visit(self, value: Any) -> tuple[int, int]:
        """How many values this one unfolds to, and how deep it is nested."""
        if isinstance(value, Tensor):
            self.tensors[value] = None
        if not isinstance(value, _CONTAINERS):
            self._check_leaf(value)
            return 1, 0
        if not isinstance(value, Placeholder) and len(value) == 0:
            return 1, 0
        if id(value) in self._open:
            raise self._refusal("contains itself")
        if id(value) not in self._closed:
            self._open.add(id(value))
            self._closed[id(value)] = self._visit_children(value)
            self._open.remove(id(value))
        return self._closed[id(value)]

    def _visit_children(self, value: Any) -> tuple[int, int]:
        if len(self._path) >= _DEEPEST:
            raise self._refusal(f"is in more than {_DEEPEST} containers")
        entries, height = 1, 0
        for key, child in _children(value):
            self._path.append(key)
            more, deeper = self._visit(child)
            if len(self._path) + deeper > _DEEPEST:
                raise self._refusal(f"is in more than {_DEEPEST} containers")
            self._path.pop()
            entries, height = entries + more, max(height, deeper + 1)
            if entries > _MOST_ENTRIES:
                raise self._refusal(f"unfolds to more than {_MOST_ENTRIES} entries")
        return entries, height

    def _check_leaf(self, value: Any) -> None:
        if isinstance(value, Storage | ScriptObject):
            raise self._refusal(
                f"is a {type(value).__name__}, which is no value; save tensors"
            )
        if isinstance(value, Global) and value.name not in VALUES:
            raise self._refusal(f"is {value.name}, which is no value; save tensors")
        if isinstance(value, NumPyArray) and value.array is None:
            raise self._refusal("is a NumPy array without content")

    def _refusal(self, problem: str) -> RefusedError:
        names = (key[:40] if isinstance(key, str) else key for key in self._path[:8])
        keys = "".join(f"[{key!r}]" for key in names if isinstance(key, str | int))
        return RefusedError(f"the value{keys} {problem}")


def finish(value: Any, arrays: Mapping[Tensor, mx.array]) -> Any:
    """The value in plain containers, with arrays in place of tensors.

    What was one object is one still; placeholders are filled where they are.
    """
    return _Finisher(arrays).finish(value)


class _Finisher:
    def __init__(self, arrays: Mapping[Tensor, mx.array]):
        self.arrays = arrays
        self._done: dict[int, tuple[Any, Any]] = {}  # by id

    def finish(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.arrays[value]
        if isinstance(value, Global):
            return VALUES[value.name]
        if isinstance(value, NumPyDtype):
            return value.dtype
        if not isinstance(value, (*_CONTAINERS, NumPyArray)):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = value, self._finish_container(value)
        return self._done[id(value)][1]

    def _finish_container(self, value: Any) -> Any:
        if isinstance(value, NumPyArray):
            assert value.array is not None  # surveyed
            return to_mlx(value.array)
        if isinstance(value, Placeholder):
            value.arguments = self.finish(value.arguments)
            value.state = self.finish(value.state)
            value.items = self.finish(value.items)
            return value
        if isinstance(value, dict):
            for key in value:
                self.finish(key)  # a placeholder
            return {key: self.finish(child) for key, child in value.items()}
        if isinstance(value, set | frozenset):
            for child in value:
                self.finish(child)
            return value
        return type(value)(self.finish(child) for child in value)
