"""Containers: layers in order, in a list, or under names.

MLX sees Sequential and ModuleList as modules with a list called `layers`, as its own
Sequential is, so that optimizer states and weights survive `tree_flatten` and
`tree_unflatten` (which turns names that are numbers into lists). State dicts have
PyTorch's names, without the `layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
import itertools
from typing import TYPE_CHECKING, Any

from lucid._types import integer
from lucid.nn._allowed import (
    check_member,
    check_name,
    check_no_cycle,
    holds_members,
)
from lucid.nn._members import layer_names
from lucid.nn._module import Module
import mlx.nn

if TYPE_CHECKING:
    from typing_extensions import Self

Layer = Callable[..., Any]


class _Layers(Module):
    """Layers in a list, each with a name; a module assigned to it is one more."""

    _layer_names: tuple[str, ...]

    def __init__(self, layers: Iterable[tuple[str, Layer]]):
        super().__init__()
        self._layer_names = ()
        self.layers: list[Any] = []
        for name, layer in layers:
            self.add_module(name, layer)

    def _names(self) -> list[str]:
        return layer_names(self) or []

    def _insert(self, index: int, name: str, layer: Layer) -> None:
        names = self._names()
        self.layers.insert(index, self._checked(layer))
        self._layer_names = (*names[:index], name, *names[index:])

    def _checked(self, layer: Layer) -> Layer:
        if not callable(layer):
            raise TypeError(
                f"a layer of {type(self).__name__} must be a module or a function, "
                f"got {type(layer).__name__}."
            )
        check_no_cycle(self, "layers", layer)
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
        if isinstance(index, slice):
            return self._part(index)
        return self.layers[self._index(index)]

    def _part(self, index: slice) -> Any:
        return type(self)(self.layers[index])

    def __setitem__(self, index: Any, layer: Any) -> None:
        if isinstance(index, str):
            super().__setitem__(index, layer)
        else:
            self.layers[self._index(index)] = self._checked(layer)

    def __delitem__(self, index: Any) -> None:
        if isinstance(index, str):
            super().__delitem__(index)
            return
        del self.layers[index if isinstance(index, slice) else self._index(index)]
        self._layer_names = ()  # numbered anew, as PyTorch does

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_layer_names", ()):
            return self.layers[self._names().index(name)]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_layer_names", ()):
            self.layers[self._names().index(name)] = self._checked(value)
        elif name == "layers" and isinstance(value, list):
            super().__setattr__(name, [self._checked(layer) for layer in value])
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
        if name in names:
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

    def append(self, layer: Layer) -> Self:
        """Add a layer at the end; returns the container."""
        self._insert(len(self), self._number(), layer)
        return self

    def extend(self, layers: Iterable[Layer]) -> Self:
        """Add layers at the end; returns the container."""
        for layer in _listed("layers", layers):
            self.append(layer)
        return self

    def __iadd__(self, layers: Iterable[Layer]) -> Self:
        return self.extend(layers)

    def pop(self, index: Any = -1, *default: Any) -> Any:
        """Take a layer out and return it; of a slice, a container of them."""
        if isinstance(index, str):
            return super().pop(index, *default)  # MLX takes entries out of its dict
        layer = self[index]
        del self[index]
        return layer

    def insert(self, index: int, layer: Layer) -> Self:
        """Add a layer before position `index`; returns the container."""
        position, count = integer("index", index), len(self)
        if not -count <= position <= count:
            raise IndexError(f"`index` (={position}) is beyond the {count} layers.")
        position += count * (position < 0)
        self._insert(position, str(position), layer)
        # Numbers follow positions; names given by the user stay.
        self._layer_names = tuple(
            str(i) if name.isdigit() else name
            for i, name in enumerate(self._layer_names)
        )
        return self


class Sequential(_Layers):
    """Layers called in order, each with the result of the one before.

    A module assigned as an attribute is one more layer, called last. `a + b` has the
    layers of both, `a * 2` its layers twice (the same ones, not copies).

    Args:
        layers: modules or functions, or one dict of named ones. Indexing and slicing
            return layers and Sequentials; names appear in the state dict, and as
            attributes.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> net = nn.Sequential(nn.LazyConv3d(8, 3), nn.ReLU(), nn.LazyConv3d(2, 1))
        >>> net(lucid.zeros(1, 4, 8, 8, 8)).shape
        (1, 2, 6, 6, 6)
        >>> list(net.state_dict())
        ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *layers: Any):
        if len(layers) == 1 and _is_plain_dict(layers[0]):
            super().__init__(layers[0].items())
        else:
            super().__init__((str(i), layer) for i, layer in enumerate(layers))

    def _part(self, index: slice) -> Any:
        names = self._names()[index]
        return type(self)(dict(zip(names, self.layers[index], strict=True)))

    def __add__(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            return NotImplemented
        return Sequential(*self.layers, *other.layers)

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*self.layers * _times(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        return self.extend(self.layers * (_times(times) - 1))

    def forward(self, input: Any) -> Any:
        for layer in self.layers:
            input = layer(input)
        return input


class ModuleList(_Layers):
    """A list of layers whose parameters belong to the model that holds it.

    Args:
        modules: the layers to begin with.

    Example:
        >>> import lucid.nn as nn
        >>> blocks = nn.ModuleList(nn.LazyConv3d(8, 3) for _ in range(3))
        >>> len(blocks), len(blocks[1:])
        (3, 2)
    """

    def __init__(self, modules: Iterable[Layer] | None = None):
        layers = [] if modules is None else _listed("modules", modules)
        super().__init__((str(i), layer) for i, layer in enumerate(layers))

    def __add__(self, other: Iterable[Layer]) -> ModuleList:
        return ModuleList([*self.layers, *_listed("other", other)])


Modules = Mapping[str, Layer] | Iterable[tuple[str, Layer]]


class ModuleDict(Module):
    """Layers under names, whose parameters belong to the model that holds it.

    Indexing, `keys`, `values`, `items`, `update`, `pop`, `len` and `in` are a dict's.

    Args:
        modules: the layers to begin with: a mapping, or (name, module) pairs.

    Example:
        >>> import lucid.nn as nn
        >>> heads = nn.ModuleDict({"mask": nn.LazyConv3d(2, 1)})
        >>> list(heads), heads["mask"].out_channels
        (['mask'], 2)
    """

    def __init__(self, modules: Modules | None = None):
        super().__init__()
        for name, layer in _pairs("modules", modules or ()):
            self[name] = layer

    def __setitem__(self, name: str, layer: Any) -> None:
        if not isinstance(layer, mlx.nn.Module):
            raise TypeError(
                f"`{name}` of a ModuleDict must be a module, "
                f"got {type(layer).__name__}."
            )
        if name not in self:
            check_name(self, name)
        check_no_cycle(self, name, layer)
        super().__setitem__(name, layer)

    def add_module(self, name: str, module: Any) -> None:
        """Add a module under a name, or replace the one of that name."""
        self[name] = module

    def update(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, modules: Any, strict: bool = True
    ) -> Self:
        """Add modules, or replace those of the same names.

        Args:
            modules: a mapping of modules, or (name, module) pairs; arrays are MLX's
                nested dict of parameters, as optimizers pass it.
            strict: MLX's, for parameters: whether a name it lacks is an error.
        """
        if isinstance(modules, Mapping) and not any(
            isinstance(value, mlx.nn.Module) for value in modules.values()
        ):
            super().update(dict(modules), strict)
            return self
        for name, layer in _pairs("modules", modules):
            self[name] = layer
        return self


def _is_plain_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and not isinstance(value, mlx.nn.Module)


def _listed(name: str, layers: Any) -> list[Any]:
    if not isinstance(layers, Iterable):
        raise TypeError(
            f"`{name}` must be a list of modules, got {type(layers).__name__}."
        )
    return list(layers)


def _pairs(name: str, modules: Any) -> list[tuple[Any, Any]]:
    if isinstance(modules, Mapping):
        return list(modules.items())
    pairs = [tuple(_listed(name, pair)) for pair in _listed(name, modules)]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"`{name}` must hold (name, module) pairs.")
    return pairs


def _times(times: Any) -> int:
    count = integer("times", times)
    if count < 1:
        raise ValueError(f"`times` (={count}) must be at least 1.")
    return count
