"""Modules, parameters and buffers by name, as PyTorch's modules are asked for them."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from typing import TYPE_CHECKING, Any, NoReturn

from lucid._types import Tensor, flag, shown, text
from lucid.nn._allowed import check_name, check_no_cycle
from lucid.nn._members import (
    Children,
    Member,
    assign,
    buffer_names,
    each_once,
    entries,
    named_layers,
    named_tree,
    walk,
)
from lucid.nn._ties import keep_each_once, kept_ties, settle_ties
from lucid.nn._uninitialized import check_initialized
import mlx.core as mx
import mlx.nn

if TYPE_CHECKING:
    from typing_extensions import Self

_ITERATED = (
    "parameters() is MLX's nested dict of arrays and iterates over names; PyTorch's "
    "iteration is `for name, array in model.named_parameters()` (arrays have no grad "
    "and no requires_grad: see nn.value_and_grad, and freeze() of a module)."
)


@contextlib.contextmanager
def _naming(argument: str) -> Iterator[None]:
    """Have what MLX says of an argument name it."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise type(error)(f"`{argument}`: {error}") from None


def _filled(held: Any, given: Any) -> Any:
    """MLX's tree with each array of a list that is frozen, for which MLX leaves {}."""
    if isinstance(held, mx.array):
        return held if isinstance(given, dict) and not given else given
    if isinstance(held, list) and isinstance(given, list):
        return [*map(_filled, held, given), *given[len(held) :]]
    if isinstance(held, dict) and isinstance(given, dict):
        return {k: _filled(dict.get(held, k), v) for k, v in dict.items(given)}
    return given


class _Name(str):
    """A name met when iterating over `parameters()`, which is no array."""

    __slots__ = ()

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(_ITERATED)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(_ITERATED)


class ParameterTree(dict[str, Any]):
    """MLX's nested dict of arrays, which says so where it is taken for an iterator."""

    def __iter__(self) -> Iterator[str]:
        return map(_Name, super().__iter__())

    def __next__(self) -> NoReturn:
        raise TypeError(_ITERATED)


class Named(mlx.nn.Module):
    """A module whose parts have PyTorch's names."""

    def add_module(self, name: str, module: Any) -> None:
        """Store a module as the attribute `name`; None leaves the attribute None.

        Raises:
            TypeError: if it is not a module, or the name is not a string.
            KeyError: if the name is empty, contains a dot, or is taken.
        """
        if module is not None and not isinstance(module, mlx.nn.Module):
            raise TypeError(
                f"`module` must be a module or None, got {type(module).__name__}."
            )
        if not isinstance(self.get(text("name", name)), mlx.nn.Module):
            check_name(self, name)
        setattr(self, name, module)

    def register_module(self, name: str, module: Any) -> None:
        """PyTorch's other name for `add_module`."""
        self.add_module(name, module)

    def children(self) -> Children:
        """The modules directly inside this one, each once; of a Sequential, its layers.

        They are iterated over, as PyTorch's are. `keys`, `values` and `items` are those
        of MLX's nested lists and dicts.
        """
        return Children(super().children(), [m for _, m in self.named_children()])

    def named_children(self) -> list[tuple[str, Any]]:
        """(name, module) of the modules directly inside this one, each once.

        A function among a Sequential's layers is there too.
        """
        return each_once(named_layers(self))

    def named_modules(
        self, *, prefix: str = "", remove_duplicate: bool = True
    ) -> list[tuple[str, Any]]:
        """(name, module) of this module (named "") and all inside it.

        Args:
            prefix: the name of this module, put before all others.
            remove_duplicate: whether a module under several names comes once.
        """
        pairs = list(named_tree(self, text("prefix", prefix)))
        return each_once(pairs) if flag("remove_duplicate", remove_duplicate) else pairs

    def modules(self, remove_duplicate: bool = True) -> list[Any]:
        """This module and all modules inside it, each once."""
        return [m for _, m in self.named_modules(remove_duplicate=remove_duplicate)]

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> list[tuple[str, Tensor]]:
        """(name, array) of every parameter, frozen ones too, buffers left out.

        A parameter that a lazy layer has yet to create is there as an empty array.

        Args:
            prefix: put before every name, with a dot.
            recurse: whether to descend into the modules inside.
            remove_duplicate: whether an array under several names comes once.
        """
        return self._named_arrays(False, prefix, recurse, remove_duplicate)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> list[tuple[str, Tensor]]:
        """(name, array) of every buffer; arguments as for `named_parameters`."""
        return self._named_arrays(True, prefix, recurse, remove_duplicate)

    def _named_arrays(
        self, buffers: bool, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> list[tuple[str, Tensor]]:
        start = f"{prefix}." if text("prefix", prefix) else ""
        settle_ties(self)
        members = walk(self, start) if flag("recurse", recurse) else self._own(start)
        pairs = [
            (member.name, member.value)
            for member in members
            if isinstance(member.value, mx.array)
            and (member.path in buffer_names(member.owner)) is buffers
        ]
        return each_once(pairs) if flag("remove_duplicate", remove_duplicate) else pairs

    def _own(self, prefix: str) -> list[Member]:
        return [
            Member(prefix + name, path, self, path, value)
            for name, path, value in entries(self)
        ]

    def buffers(self, recurse: bool = True) -> list[Tensor]:
        """Every buffer."""
        return [array for _, array in self.named_buffers(recurse=recurse)]

    def parameters(self) -> dict[str, Any]:
        """MLX's nested dict of arrays, with buffers; a tied array under its first name.

        PyTorch's iteration is `named_parameters()`.
        """
        groups = settle_ties(self)
        tree = ParameterTree(super().parameters())
        keep_each_once(tree, groups, trained=False)
        return tree

    def trainable_parameters(self) -> dict[str, Any]:
        """MLX's nested dict of the arrays that are trained, each once.

        An array under several names is there under the first; it is trained unless it
        is frozen under one of them.

        Raises:
            UninitializedParameterError: if a lazy layer has no weights yet.
        """
        check_initialized(self, "trainable_parameters()", trained_only=True)
        groups = settle_ties(self)
        tree = ParameterTree(super().trainable_parameters())
        keep_each_once(tree, groups, trained=True)
        return tree

    def get_submodule(self, target: str) -> Any:
        """The module of a dotted name; this one for "".

        Raises:
            AttributeError: if there is none.
        """
        return self._find(target, dict(named_tree(self)), "module")

    def get_parameter(self, target: str) -> Tensor:
        """The parameter of a dotted name.

        Raises:
            AttributeError: if there is none.
        """
        named = dict(self.named_parameters(remove_duplicate=False))
        return self._find(target, named, "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name.

        Raises:
            AttributeError: if there is none.
        """
        named = dict(self.named_buffers(remove_duplicate=False))
        return self._find(target, named, "buffer")

    def _find(self, target: str, named: dict[str, Any], kind: str) -> Any:
        if text("target", target) not in named:
            raise AttributeError(
                f"`target`: {type(self).__name__} has no {kind} {shown(target)}; "
                "it has "
                f"{', '.join(map(repr, list(named)[:8])) or 'none'}"
                f"{', ...' if len(named) > 8 else '.'}"
            )
        return named[target]

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Put a module under a dotted name, in place of the one there or as a new one.

        Args:
            target: the name; its parent must exist.
            module: the module.
            strict: whether there must be a module of that name already.

        Raises:
            ValueError: if the name is empty, or it is not a module.
            AttributeError: if there is no such place.
        """
        if not text("target", target):
            raise ValueError("`target` must not be empty.")
        if not isinstance(module, mlx.nn.Module):
            raise ValueError(f"`module` must be one, got {type(module).__name__}.")
        for member in walk(self):
            if member.name == target and isinstance(member.value, mlx.nn.Module):
                check_no_cycle(member.owner, target, module)
                assign(member.owner, member.path, module)
                return
        outside, _, name = target.rpartition(".")
        parent = self.get_submodule(outside)
        if flag("strict", strict) or hasattr(parent, name):
            kind = type(parent).__name__
            raise AttributeError(f"`target`: {kind} has no module {shown(name)}.")
        check_name(parent, name, hasattr(parent, "_layer_names"), "target")
        add = parent.add_module if isinstance(parent, Named) else parent.__setattr__
        add(name, module)

    def update(self, parameters: dict[str, Any], strict: bool = True) -> Self:
        """MLX's: replace arrays by those of a nested dict; tied ones stay tied."""
        with kept_ties(self), _naming("parameters"):
            super().update(_filled(self, parameters), flag("strict", strict))
        return self

    def update_modules(self, modules: Any, strict: bool = True) -> Self:
        """MLX's: replace modules by those of a nested dict, `children()` for one."""
        tree = dict(modules.items()) if isinstance(modules, dict) else modules
        with _naming("modules"):
            super().update_modules(tree, flag("strict", strict))
        return self

    @property
    def state(self) -> Self:
        """The module as MLX's dict of its contents, to pass to `mx.compile`."""
        settle_ties(self)  # a trace gives each name a placeholder of its own
        return self
