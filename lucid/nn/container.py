"""Containers: layers in order, in a list, or under names.

MLX sees Sequential and ModuleList as modules with a list called `layers`, as its own
Sequential is, so that optimizer states and weights survive `tree_flatten` and
`tree_unflatten` (which turns names that are numbers into lists). State dicts have
PyTorch's names, without the `layers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lucid._types import integer
from lucid.nn._members import layer_names
from lucid.nn._module import Module
import mlx.nn

Layer = Callable[..., Any]


class _Layers(Module):
    """Layers in a list, each with a name."""

    _layer_names: tuple[str, ...]

    def __init__(self, layers: Iterable[tuple[str, Layer]]):
        super().__init__()
        self._layer_names = ()
        self.layers: list[Any] = []
        for name, layer in layers:
            self._insert(len(self.layers), name, layer)

    def _insert(self, index: int, name: str, layer: Layer) -> None:
        self.layers.insert(index, self._checked(layer))
        names = self._layer_names
        self._layer_names = (*names[:index], name, *names[index:])

    def _checked(self, layer: Layer) -> Layer:
        if not callable(layer):
            raise TypeError(
                f"a layer of {type(self).__name__} must be a module or a function, "
                f"got {type(layer).__name__}."
            )
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
        position = self._index(index)
        del self.layers[position]
        names = self._layer_names
        self._layer_names = self._renumbered(
            (*names[:position], *names[position + 1 :])
        )

    @staticmethod
    def _renumbered(names: tuple[str, ...]) -> tuple[str, ...]:
        """Numbers follow positions; names given by the user stay."""
        return tuple(str(i) if name.isdigit() else name for i, name in enumerate(names))

    def append(self, layer: Layer) -> Any:
        """Add a layer at the end; returns the container."""
        self._insert(len(self), str(len(self)), layer)
        return self

    def extend(self, layers: Iterable[Layer]) -> Any:
        """Add layers at the end; returns the container."""
        for layer in layers:
            self.append(layer)
        return self

    def __iadd__(self, layers: Iterable[Layer]) -> Any:
        return self.extend(layers)

    def pop(self, index: Any = -1, *default: Any) -> Any:
        """Take a layer out and return it."""
        if isinstance(index, str):
            return super().pop(index, *default)  # MLX takes entries out of its dict
        layer = self[index]
        del self[index]
        return layer

    def insert(self, index: int, layer: Layer) -> None:
        """Add a layer before position `index`."""
        position = min(max(0, index + len(self) * (index < 0)), len(self))
        self._insert(position, str(position), layer)
        self._layer_names = self._renumbered(self._layer_names)


class Sequential(_Layers):
    """Layers called in order, each with the result of the one before.

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
            named = [(_checked_name(name), layer) for name, layer in layers[0].items()]
            for name, _ in named:
                if name == "layers" or hasattr(Sequential, name):
                    raise ValueError(f"`{name}` is a name that Sequential itself has.")
        else:
            named = [(str(i), layer) for i, layer in enumerate(layers)]
        super().__init__(named)

    def _part(self, index: slice) -> Any:
        part = type(self)(*self.layers[index])
        part._layer_names = self._renumbered(tuple(layer_names(self) or ())[index])
        return part

    def __getattr__(self, name: str) -> Any:
        names = self.__dict__.get("_layer_names", ())
        if name in names:
            return self.layers[names.index(name)]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        names = self.__dict__.get("_layer_names", ())
        if name in names:
            self.layers[names.index(name)] = self._checked(value)
        else:
            super().__setattr__(name, value)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x


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

    def __init__(self, modules: Iterable[Layer] = ()):
        super().__init__((str(i), layer) for i, layer in enumerate(modules))


class ModuleDict(Module):
    """Layers under names, whose parameters belong to the model that holds it.

    Indexing, `keys`, `values`, `items`, `len` and `in` are a dict's. (`update` is MLX's
    and takes parameters, not layers.)

    Args:
        modules: the layers to begin with, by name.

    Example:
        >>> import lucid.nn as nn
        >>> heads = nn.ModuleDict({"mask": nn.LazyConv3d(2, 1)})
        >>> list(heads), heads["mask"].out_channels
        (['mask'], 2)
    """

    def __init__(self, modules: Mapping[str, Layer] | None = None):
        super().__init__()
        for name, layer in (modules or {}).items():
            self[name] = layer

    def __setitem__(self, name: str, layer: Any) -> None:
        if isinstance(layer, mlx.nn.Module):
            super().__setitem__(_checked_name(name), layer)
        else:
            raise TypeError(
                f"`{name}` of a ModuleDict must be a module, "
                f"got {type(layer).__name__}."
            )


def _checked_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a layer's name must be a string, got {name!r}.")
    if not name or "." in name or name.isdigit() or name.startswith("_"):
        raise ValueError(
            f"`{name}` cannot name a layer: names must not be empty, a number, hold a "
            "dot or start with an underscore."
        )
    return name


def _is_plain_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and not isinstance(value, mlx.nn.Module)
