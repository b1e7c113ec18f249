"""Layers in a list, each with a name: what Sequential and ModuleList are.

MLX sees a module with a list called `layers`, as its own Sequential is, so that
optimizer states and weights survive `tree_flatten` and `tree_unflatten` (which turns
names that are numbers into lists). State dicts have PyTorch's names, without `layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
import itertools
from typing import TYPE_CHECKING, Any, TypeAlias

from lucid._types import integer, shown
from lucid.nn import _first_call
from lucid.nn._allowed import (
    check_member,
    check_name,
    check_no_cycle,
    holds_members,
)
from lucid.nn._members import layer_names
from lucid.nn._module import Module
import mlx.core as mx
import mlx.nn

if TYPE_CHECKING:
    from typing_extensions import Self

Layer: TypeAlias = Callable[..., Any]


class Layers(Module):
    """Layers in a list, each with a name; a module assigned to it is one more."""

    _layer_names: tuple[str, ...]

    def __init__(self, argument: str, layers: Iterable[tuple[Any, Any]]):
        """Begin with (name, layer) pairs, which came as the argument of that name."""
        super().__init__()
        self._layer_names = ()
        self.layers: list[Any] = []
        for name, layer in layers:
            self.add_module(name, self._checked(argument, layer))

    def _names(self) -> list[str]:
        return layer_names(self) or []

    def _insert(self, index: int, name: str, layer: Layer) -> None:
        names = self._names()
        self.layers.insert(index, self._checked("module", layer))
        self._layer_names = (*names[:index], name, *names[index:])

    def _checked(self, argument: str, layer: Any) -> Any:
        if not callable(layer):
            raise TypeError(
                f"`{argument}` of {type(self).__name__} must be modules or functions, "
                f"got {type(layer).__name__}."
            )
        check_no_cycle(self, argument, layer)
        _first_call.new_era()  # it may be lazy
        return layer

    def _index(self, index: Any) -> int:
        position = integer("index", index)
        count = len(self.layers)
        if not -count <= position < count:
            raise IndexError(f"`index` (={position}) is beyond the {count} layers.")
        return position % count

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self.layers)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, str):
            return super().__contains__(item)  # MLX asks for entries of its dict
        return any(layer is item for layer in self.layers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            return super().__getitem__(index)
        place = self._place(index)
        return self._part(place) if isinstance(place, slice) else self.layers[place]

    def _place(self, index: Any) -> Any:
        """A slice or a position, checked."""
        if not isinstance(index, slice):
            return self._index(index)
        try:
            index.indices(len(self.layers))
        except (TypeError, ValueError) as error:
            raise type(error)(f"`index` (={shown(index)}): {error}.") from None
        return index

    def _part(self, index: slice) -> Any:
        kind: Any = type(self)  # whose constructors take a list
        return kind(self.layers[index])

    def __setitem__(self, index: Any, layer: Any) -> None:
        if isinstance(index, str):
            super().__setitem__(index, layer)
        else:
            self.layers[self._index(index)] = self._checked("module", layer)

    def __delitem__(self, index: Any) -> None:
        if isinstance(index, str):
            super().__delitem__(index)
            return
        del self.layers[self._place(index)]
        self._layer_names = ()  # numbered anew, as PyTorch does

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_layer_names", ()):
            return self.layers[self._names().index(name)]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_layer_names", ()):
            self.layers[self._names().index(name)] = self._checked(name, value)
        elif name == "layers" and isinstance(value, list):
            super().__setattr__(name, [self._checked("layers", v) for v in value])
            self._layer_names = ()
        elif (
            isinstance(value, dict | list)
            and holds_members(value)
            and check_member(self, name, value)
        ):
            self._assign_layer(name, value)
        else:
            super().__setattr__(name, value)

    def _assign_layer(self, name: str, value: Any) -> None:
        """A module becomes the last layer; a list of modules would never be called."""
        if name == "layers" or not isinstance(value, mlx.nn.Module):
            raise AttributeError(
                f"`{type(self).__name__}.{name}` cannot be a "
                f"{type(value).__name__}: modules assigned to a {type(self).__name__} "
                "are layers of it, one each, under names other than `layers`."
            )
        self.__dict__.pop(name, None)
        self._insert(len(self), name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__.get("_layer_names", ()):
            names = self._names()
            position = names.index(name)
            del self.layers[position], names[position]
            self._layer_names = tuple(names)
        else:
            super().__delattr__(name)

    def add_module(self, name: str, module: Any) -> None:
        """Add a layer at the end under a name, or replace the one of that name."""
        names = self._names()
        if isinstance(name, str) and name in names:
            self[names.index(name)] = module
        else:
            check_name(self, name, numbers=True)
            self._insert(len(names), name, module)

    def _number(self) -> str:
        """The number of a layer added at the end: its position, unless that is taken.

        A part of a Sequential keeps its layers' names, as in PyTorch.
        """
        names = self._names()
        numbers = map(str, itertools.count(len(names)))
        return next(number for number in numbers if number not in names)

    def append(self, module: Layer) -> Self:
        """Add a layer at the end; returns the container."""
        self._insert(len(self), self._number(), module)
        return self

    def extend(self, modules: Iterable[Layer]) -> Self:
        """Add layers at the end; returns the container."""
        layers = [self._checked("modules", m) for m in listed("modules", modules)]
        for layer in layers:
            self.append(layer)
        return self

    def __iadd__(self, modules: Iterable[Layer]) -> Self:
        return self.extend(modules)

    def pop(self, index: Any = -1, *default: Any) -> Any:
        """Take a layer out and return it; of a slice, a container of them."""
        if isinstance(index, str) and default:
            return super().pop(index, *default)  # MLX takes entries out of its dict
        position = self._place(index)
        layer = self[position]
        del self[position]
        return layer

    def insert(self, index: int, module: Layer) -> Self:
        """Add a layer before position `index`; returns the container."""
        position, count = integer("index", index), len(self)
        if not -count <= position <= count:
            raise IndexError(f"`index` (={position}) is beyond the {count} layers.")
        position += count * (position < 0)
        self._insert(position, str(position), module)
        # Numbers follow positions; names given by the user stay.
        self._layer_names = tuple(
            str(i) if name.isdigit() else name
            for i, name in enumerate(self._layer_names)
        )
        return self


def listed(name: str, members: Any) -> list[Any]:
    """What an argument holds, refusing what holds nothing."""
    is_array = isinstance(members, mx.array)  # iterable to Python, with axes or without
    if is_array or not isinstance(members, Iterable):
        raise TypeError(f"`{name}` must be a list, got {type(members).__name__}.")
    try:
        return list(members)
    except TypeError:  # NumPy's, of an array without axes
        raise TypeError(f"`{name}` must be a list, got a number.") from None


def pairs(name: str, members: Any) -> list[tuple[Any, Any]]:
    """What an argument holds, a mapping or (name, member) pairs."""
    if isinstance(members, Mapping):
        return list(members.items())
    found = [tuple(listed(name, pair)) for pair in listed(name, members)]
    if any(len(pair) != 2 for pair in found):
        raise ValueError(f"`{name}` must hold pairs of a name and a member.")
    return found
