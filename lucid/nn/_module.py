"""Module: MLX's, with PyTorch's names for what a model is, has and loads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from lucid._types import Tensor, flag, shown
from lucid.conversion import tensor
from lucid.nn import _first_call, _hooks
from lucid.nn._allowed import check_member, check_name
from lucid.nn._cast import Castable
from lucid.nn._hooks import Hooked
from lucid.nn._members import (
    children_first,
    layer_names,
    named_layers,
)
from lucid.nn._named import Named
from lucid.nn._saved import Saved
from lucid.nn._slots import keep_place, take_place
from lucid.nn._ties import untie
from lucid.nn._tree import html_tree
from lucid.nn._uninitialized import FrozenNames, uninitialized_names
import mlx.core as mx
import mlx.nn

if TYPE_CHECKING:
    from typing_extensions import Self

if TYPE_CHECKING:
    Parameter: TypeAlias = mx.array
else:

    class _Role(type):
        """Makes every array an instance."""

        def __instancecheck__(cls, instance):
            return isinstance(instance, mx.array)

    class Parameter(metaclass=_Role):
        """An array stored on a module: trained unless frozen or a registered buffer.

        `Parameter(data)` makes one. `requires_grad` must be True: for an array that is
        not trained, use `nn.Buffer`, or freeze it.
        """

        def __new__(cls, data, requires_grad=True):
            if not flag("requires_grad", requires_grad):
                raise ValueError(
                    "`requires_grad` (=False) must be True: make it an nn.Buffer, or "
                    'freeze it by self.freeze(keys="its name", recurse=False).'
                )
            return tensor(data)


class Buffer(mx.array):
    """An array that is a buffer of the module it is assigned to.

    Args:
        data: the array.
        persistent: whether `state_dict()` has it.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> class Centered(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.mean = nn.Buffer(lucid.zeros(3))
        >>> [name for name, _ in Centered().named_buffers()]
        ['mean']
    """

    def __init__(self, data: Tensor, *, persistent: bool = True):
        super().__init__(tensor(data))
        self.persistent = flag("persistent", persistent)


# Methods of PyTorch's modules that nothing here would call.
_NEVER_CALLED = (
    "get_extra_state",
    "set_extra_state",
    "_save_to_state_dict",
    "_load_from_state_dict",
)


def _shown(layer: Callable[..., Any]) -> str:
    """A module's repr, a function's name."""
    is_module = isinstance(layer, mlx.nn.Module)
    return repr(layer) if is_module else getattr(layer, "__name__", repr(layer))


class Module(Castable, Hooked, Named, Saved):
    """Base class of Lucid's layers and of users' models.

    An `mlx.nn.Module`, so that MLX's optimizers, layers, tree utilities and `compile`
    take it as it is, and the two nest in each other. Subclasses assign arrays and
    modules in `__init__` (after `super().__init__()`) and define `forward`.

    `parameters()` and `trainable_parameters()` are MLX's nested dicts; the flat names
    of `state_dict()` and `named_parameters()` are PyTorch's.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> class Scale(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.factor = nn.Parameter(lucid.ones(1))
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> [name for name, _ in Scale().named_parameters()]
        ['factor']
    """

    def _missing_forward(self, *args: Any, **kwargs: Any) -> Any:
        kind = type(self).__name__
        raise NotImplementedError(f"{kind} cannot be called: it defines no `forward`.")

    forward: Callable[..., Any] = _missing_forward
    _complete_in = 0  # the era in which no lazy layer inside was seen to wait

    _holds_arrays = True

    def __init__(self) -> None:
        super().__init__()
        self._no_grad = FrozenNames()
        self._unsaved = frozenset()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._complete_in == _first_call.era and not _first_call.in_trial():
            if self._hooks is None:
                return self.forward(*args, **kwargs)
            return _hooks.forward(self, *args, **kwargs)
        return _first_call.call(self, *args, **kwargs)

    # MLX's Module is a dict of its arrays and modules; what that would break for a
    # user (truth value, identity, tuples, names of dict's methods) is mended here.

    def __bool__(self) -> bool:
        return True

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _NEVER_CALLED:
            if name in cls.__dict__:
                raise TypeError(
                    f"`{cls.__name__}.{name}` would never be called: a state dict is "
                    "what the modules hold. Keep what else there is in a buffer "
                    "(register_buffer), and change names and values in the dict before "
                    "load_state_dict."
                )

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Buffer):
            self._assign_buffer(name, value)
        elif check_member(self, name, value):
            if value is not self.get(name):
                untie(self, name)
            self.__dict__.pop(name, None)
            is_new = name not in self
            self[name] = value
            if is_new:
                take_place(self, name)
            if isinstance(value, mlx.nn.Module):
                _first_call.new_era()
        elif name == "requires_grad":
            raise AttributeError(
                "a module has no `requires_grad`: call requires_grad_(False), or "
                "freeze() and unfreeze()."
            )
        else:
            if value is None and name in self:
                keep_place(self, name)
            object.__setattr__(self, name, value)
            self.pop(name, None)

    def _assign_buffer(self, name: str, buffer: Buffer) -> None:
        if name not in self._no_grad.buffers and hasattr(self, name):
            delattr(self, name)
        self.register_buffer(name, mx.array(buffer), buffer.persistent)

    def __delattr__(self, name: str) -> None:
        if name in self:
            untie(self, name)
            del self[name]
            self._no_grad.discard_buffer(name)
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        members = [*dict.keys(self), *(layer_names(self) or ())]
        public = [name for name in members if name.isidentifier()]
        return sorted({*super().__dir__(), *public})

    def extra_repr(self) -> str:
        """The text between the parentheses of the module's repr."""
        return ""

    def _extra_repr(self) -> str:
        return self.extra_repr()

    def __repr__(self) -> str:
        lines = [f"({name}): {_shown(layer)}" for name, layer in named_layers(self)]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}({self.extra_repr()}\n  {body}\n)"

    def _repr_html_(self) -> str:
        return html_tree(self)

    def register_buffer(
        self, name: str, tensor: Tensor | None, persistent: bool = True
    ) -> None:
        """Store an array that is part of the model but is never trained.

        Args:
            name: the attribute's name.
            tensor: its value; None leaves the attribute None.
            persistent: whether `state_dict()` has it.

        Raises:
            TypeError: if it is not an array, or the name is not a string.
            KeyError: if the name is empty, contains a dot, or is an attribute already.
        """
        is_saved = flag("persistent", persistent)
        is_one = isinstance(name, str) and name in self._no_grad.buffers
        self._register(name, "tensor", tensor, is_one)
        self._no_grad.add_buffer(name)
        self._unsaved = self._unsaved - {name} if is_saved else self._unsaved | {name}

    def register_parameter(self, name: str, param: Tensor | None) -> None:
        """Store an array to be trained: what assigning the attribute does.

        Args:
            name: the attribute's name.
            param: its value; None leaves the attribute None.

        Raises:
            TypeError: if it is not an array, or the name is not a string.
            KeyError: if the name is empty, contains a dot, or is an attribute already.
        """
        is_one = isinstance(name, str) and isinstance(self.get(name), mx.array)
        is_one = is_one and name not in self._no_grad.buffers
        self._register(name, "param", param, is_one)

    def _register(self, name: str, argument: str, array: Any, replaces: bool) -> None:
        if not replaces:
            check_name(self, name)
        if array is not None and not isinstance(array, mx.array):
            raise TypeError(
                f"`{argument}` of `{name}` must be a lucid.Tensor or None, "
                f"got {type(array).__name__}."
            )
        if array is not None and not self._holds_arrays:
            raise TypeError(f"`{argument}`: a {type(self).__name__} holds modules.")
        if array is None:
            keep_place(self, name)
        setattr(self, name, array)

    def apply(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, fn: Callable[[mlx.nn.Module], Any]
    ) -> Self:
        """Call `fn` with every module inside this one, then with this one.

        This is PyTorch's `apply`, for initializing weights. MLX's, which maps arrays,
        is `mlx.nn.Module.apply(model, map_fn)`. A lazy layer's turn comes when its
        parameters exist.

        Returns:
            The module.

        Example:
            >>> import lucid.nn as nn
            >>> names = []
            >>> _ = nn.Sequential(nn.ReLU()).apply(lambda m: names.append(repr(m)))
            >>> names[0]
            'ReLU()'
        """
        if not callable(fn):
            raise TypeError(f"`fn` (={shown(fn)}) must be a function of a module.")
        for module in children_first(self, set()):
            if uninitialized_names(module):
                module.apply_later(fn)
            else:
                fn(module)
        return self
