"""Containers of arrays: parameters in a list, or under names."""

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

from lucid._types import Tensor
from lucid.nn._allowed import check_name
from lucid.nn._layers import Layers, listed, pairs
from lucid.nn._module import Module
from lucid.nn._ties import untie
import mlx.core as mx

if TYPE_CHECKING:
    from typing_extensions import Self


class ParameterList(Layers):
    """A list of arrays that are parameters of the model that holds it.

    It indexes, slices, appends, inserts, pops and adds as a ModuleList does.

    Args:
        values: the first arrays.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> scales = nn.ParameterList(lucid.ones(2) for _ in range(3))
        >>> [name for name, _ in scales.named_parameters()]
        ['0', '1', '2']
    """

    def __init__(self, values: Iterable[Tensor] | None = None):
        arrays = [] if values is None else listed("values", values)
        super().__init__("values", [(str(i), array) for i, array in enumerate(arrays)])

    def _checked(self, argument: str, layer: Any) -> Tensor:
        if not isinstance(layer, mx.array):
            raise TypeError(
                f"`{argument}` of a ParameterList must be arrays, "
                f"got {type(layer).__name__}."
            )
        untie(self, "layers")  # the list is about to change, and places with it
        return layer

    def __delitem__(self, index: Any) -> None:
        untie(self, "layers")
        super().__delitem__(index)

    def __iter__(self) -> Iterator[Tensor]:
        return super().__iter__()

    def __add__(self, other: Iterable[Tensor]) -> ParameterList:
        return ParameterList([*self.layers, *listed("other", other)])

    def __repr__(self) -> str:
        return _shown(self, enumerate(self.layers))


class ParameterDict(Module):
    """A dict of arrays that are parameters of the model that holds it.

    Indexing, `keys`, `values`, `items`, `update`, `pop`, `len` and `in` are a dict's.

    Args:
        parameters: the first arrays: a mapping, or (name, array) pairs.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.ParameterDict({"left": lucid.ones(2)})["left"].shape
        (2,)
    """

    def __init__(
        self, parameters: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = ()
    ):
        super().__init__()
        self.update(parameters)

    if TYPE_CHECKING:  # MLX's dict does not say what it holds

        def __getitem__(self, name: str, /) -> Tensor: ...
        def keys(self) -> KeysView[str]: ...  # type: ignore[override]
        def values(self) -> ValuesView[Tensor]: ...  # type: ignore[override]
        def items(self) -> ItemsView[str, Tensor]: ...  # type: ignore[override]
        def __iter__(self) -> Iterator[str]: ...

    def _check(self, argument: str, name: Any, value: Any) -> None:
        if not isinstance(name, str) or name not in self:
            check_name(self, name)
        if not isinstance(value, mx.array):
            raise TypeError(
                f"`{argument}`: `{name}` of a ParameterDict must be an array, "
                f"got {type(value).__name__}."
            )

    def __setitem__(self, name: str, value: Any) -> None:
        self._check("value", name, value)
        super().__setitem__(name, value)

    def update(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, parameters: Any, strict: bool = True
    ) -> Self:
        """Add arrays, or replace those of the same names.

        Args:
            parameters: a mapping of arrays, or (name, array) pairs.
            strict: MLX's; accepted and ignored.
        """
        found = pairs("parameters", parameters)
        for name, value in found:
            self._check("parameters", name, value)
        for name, value in found:
            self[name] = value
        return self

    def copy(self) -> ParameterDict:
        """Another ParameterDict of the same arrays."""
        return ParameterDict(self.items())

    def __or__(self, other: Any) -> Any:
        return self.copy().update(other)

    def __ior__(self, other: Any) -> Self:
        return self.update(other)

    def __repr__(self) -> str:
        return _shown(self, self.items())


def _shown(module: Module, arrays: Iterable[tuple[Any, Tensor]]) -> str:
    lines = (f"\n  ({name}): {x.dtype} of shape {x.shape}" for name, x in arrays)
    body = "".join(lines).replace("mlx.core.", "")
    kind = type(module).__name__
    return f"{kind}({body}\n)" if body else f"{kind}()"
