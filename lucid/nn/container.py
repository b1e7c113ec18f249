"""Containers: layers in order, in a list, or under names."""

from __future__ import annotations

from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    ValuesView,
)
from typing import TYPE_CHECKING, Any

from lucid._types import integer
from lucid.nn import _first_call
from lucid.nn._allowed import check_name, check_no_cycle
from lucid.nn._channels_last import warn_of_wrong_axes
from lucid.nn._layers import Layer, Layers, listed, pairs
from lucid.nn._module import Module
import mlx.nn

if TYPE_CHECKING:
    from typing_extensions import Self


class Sequential(Layers):
    """Layers called in order, each with the result of the one before.

    A module assigned to an attribute becomes the last layer. `a + b` has the layers of
    both, `a * 2` has its layers twice (the same ones, not copies).

    Args:
        layers: modules or functions, or one dict of them by name. Names appear in the
            state dict, and as attributes. An index gives a layer, a slice a
            Sequential.

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
            super().__init__("layers", layers[0].items())
        else:
            super().__init__("layers", _numbered(layers))

    def _insert(self, index: int, name: str, layer: Layer) -> None:
        super()._insert(index, name, layer)
        warn_of_wrong_axes(self.layers[max(index - 1, 0) : index + 2])

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


class ModuleList(Layers):
    """A list of layers whose parameters belong to the model that holds it.

    Args:
        modules: the first layers.

    Example:
        >>> import lucid.nn as nn
        >>> blocks = nn.ModuleList(nn.LazyConv3d(8, 3) for _ in range(3))
        >>> len(blocks), len(blocks[1:])
        (3, 2)
    """

    def __init__(self, modules: Iterable[Layer] | None = None):
        layers = [] if modules is None else listed("modules", modules)
        super().__init__("modules", _numbered(layers))

    def __add__(self, other: Iterable[Layer]) -> ModuleList:
        return ModuleList([*self.layers, *listed("other", other)])


Modules = Mapping[str, Layer] | Iterable[tuple[str, Layer]]


class ModuleDict(Module):
    """A dict of layers, whose parameters belong to the model that holds it.

    Indexing, `keys`, `values`, `items`, `update`, `pop`, `len` and `in` are a dict's.

    Args:
        modules: the first layers: a mapping, or (name, module) pairs.

    Example:
        >>> import lucid.nn as nn
        >>> heads = nn.ModuleDict({"mask": nn.LazyConv3d(2, 1)})
        >>> list(heads), heads["mask"].out_channels
        (['mask'], 2)
    """

    _holds_arrays = False  # its items are modules, and MLX's are all it has

    def __init__(self, modules: Modules | None = None):
        super().__init__()
        if modules is not None:
            self._put_all(modules)

    if TYPE_CHECKING:  # MLX's dict does not say what it holds

        def __getitem__(self, name: str, /) -> Any: ...
        def keys(self) -> KeysView[str]: ...  # type: ignore[override]
        def values(self) -> ValuesView[Any]: ...  # type: ignore[override]
        def items(self) -> ItemsView[str, Any]: ...  # type: ignore[override]
        def __iter__(self) -> Iterator[str]: ...

    def _put_all(self, modules: Modules) -> None:
        found = pairs("modules", modules)
        for name, layer in found:
            self._check("modules", name, layer)
        for name, layer in found:
            self[name] = layer

    def _check(self, argument: str, name: Any, layer: Any) -> None:
        if not isinstance(name, str) or name not in self:
            check_name(self, name)
        if not isinstance(layer, mlx.nn.Module):
            raise TypeError(
                f"`{argument}`: `{name}` of a ModuleDict must be a module, "
                f"got {type(layer).__name__}."
            )
        check_no_cycle(self, name, layer)

    def __setitem__(self, name: str, layer: Any) -> None:
        self._check("module", name, layer)
        _first_call.new_era()  # it may be lazy
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
            try:
                super().update(dict(modules), strict)
            except ValueError as error:
                raise ValueError(f"`modules`: {error}") from None
        else:
            self._put_all(modules)
        return self


def _numbered(layers: Iterable[Layer]) -> list[tuple[str, Layer]]:
    return [(str(i), layer) for i, layer in enumerate(layers)]


def _is_plain_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and not isinstance(value, mlx.nn.Module)


def _times(times: Any) -> int:
    count = integer("times", times)
    if count < 1:
        raise ValueError(f"`times` (={count}) must be at least 1.")
    return count
