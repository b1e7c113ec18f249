"""Values that operations change in place, and views that see the change."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

View = Callable[[mx.array], mx.array]


class Cell:
    """An array under a name; with a parent, a view of another's.

    MLX's arrays are values. A write puts a new array into the cell, and from a view
    into the elements of its parent that it shows; a view that is read after its parent
    was written is taken anew.
    """

    __slots__ = ("_array", "_parent", "_seen", "_version", "_view")

    def __init__(
        self, array: mx.array, parent: Cell | None = None, view: View | None = None
    ):
        self._array, self._parent, self._view = array, parent, view
        self._version = 0
        self._seen = 0 if parent is None else parent.version

    @property
    def version(self) -> int:
        """How often it was written."""
        self._refresh()
        return self._version

    def read(self) -> mx.array:
        self._refresh()
        return self._array

    def write(self, array: mx.array) -> None:
        self._refresh()
        self._array = array.astype(self._array.dtype)
        self._version += 1
        if self._parent is not None and self._view is not None:
            whole = self._parent.read()
            places = self._view(mx.arange(whole.size).reshape(whole.shape))
            if places.size:  # MLX scatters nothing only into something
                flat = whole.reshape(-1)
                flat[places.reshape(-1)] = self._array.reshape(-1)
                whole = flat.reshape(whole.shape)
            self._parent.write(whole)
            self._seen = self._parent.version

    def _refresh(self) -> None:
        if self._parent is None or self._view is None:
            return
        version = self._parent.version
        if version != self._seen:
            self._array, self._seen = self._view(self._parent.read()), version
            self._version += 1
