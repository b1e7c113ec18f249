"""Module: MLX's, with PyTorch's names for what a model is, has and loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import os
from typing import TYPE_CHECKING, Any, TypeAlias

from lucid import _device, files
from lucid._types import (
    DTYPES,
    DeviceLike,
    DTypeLike,
    Tensor,
    check_float_dtype,
    resolve_dtype,
)
from lucid.nn._first_call import Transaction, keep_unchanged
from lucid.nn._members import (
    Children,
    buffer_names,
    check_member,
    check_name,
    children_first,
    each_once,
    mlx_names,
    named_arrays,
    named_layers,
    named_tree,
    unsaved_names,
)
from lucid.nn._state_dict import IncompatibleKeys, load_state
from lucid.nn._uninitialized import FrozenNames, check_initialized, uninitialized_names
import mlx.core as mx
import mlx.nn

if TYPE_CHECKING:
    from typing_extensions import Self

Parameter: TypeAlias = mx.array
"""An array stored on a module: trained unless it is frozen or a registered buffer."""


def _is_floating(dtype: mx.Dtype) -> bool:
    return mx.issubdtype(dtype, mx.floating)


def _shown(layer: Callable[..., Any]) -> str:
    """A module's repr, a function's name."""
    is_module = isinstance(layer, mlx.nn.Module)
    return repr(layer) if is_module else getattr(layer, "__name__", repr(layer))


class Module(mlx.nn.Module):
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

    def __init__(self) -> None:
        super().__init__()
        self._no_grad = FrozenNames()
        self._unsaved = frozenset()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with Transaction():
            keep_unchanged(self)
            return self.forward(*args, **kwargs)

    # MLX's Module is a dict of its arrays and modules; what that would break for a
    # user (truth value, identity, tuples, names of dict's methods) is mended here.

    def __bool__(self) -> bool:
        return True

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType]

    def __setattr__(self, name: str, value: Any) -> None:
        if check_member(self, name, value):
            self.__dict__.pop(name, None)
            self[name] = value
        else:
            object.__setattr__(self, name, value)
            self.pop(name, None)

    def __delattr__(self, name: str) -> None:
        if name in self:
            del self[name]
            self._no_grad.discard_buffer(name)
        else:
            object.__delattr__(self, name)

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's repr."""
        return ""

    def _extra_repr(self) -> str:
        return self.extra_repr()

    def __repr__(self) -> str:
        lines = [f"({name}): {_shown(layer)}" for name, layer in named_layers(self)]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}({self.extra_repr()}\n  {body}\n)"

    def register_buffer(
        self, name: str, tensor: Tensor | None, persistent: bool = True
    ) -> None:
        """Store an array that is part of the model but is never trained.

        Args:
            name: the attribute's name.
            tensor: its value; None leaves the attribute None.
            persistent: whether `state_dict()` has it.
        """
        if tensor is not None and not isinstance(tensor, mx.array):
            raise TypeError(
                f"buffer `{name}` must be a lucid.Tensor or None, "
                f"got {type(tensor).__name__}."
            )
        if name.startswith("_"):
            raise ValueError(f"`name` (={name!r}) must not start with an underscore.")
        setattr(self, name, tensor)
        self._no_grad.add_buffer(name)
        self._unsaved = self._unsaved - {name} if persistent else self._unsaved | {name}

    def children(self) -> Children:
        """The modules directly inside this one, each once; of a Sequential, its layers.

        They are iterated over, as PyTorch's are. `keys`, `values` and `items` are those
        of MLX's nested lists and dicts.
        """
        return Children(super().children(), [m for _, m in self.named_children()])

    def add_module(self, name: str, module: Any) -> None:
        """Store a module as the attribute `name`; None leaves the attribute None.

        Raises:
            TypeError: for what is no module, or a name that is no string.
            KeyError: for a name that is empty, holds a dot or is taken.
        """
        if module is not None and not isinstance(module, mlx.nn.Module):
            raise TypeError(
                f"`module` must be a module or None, got {type(module).__name__}."
            )
        if not isinstance(self.get(name), mlx.nn.Module):
            check_name(self, name)
        setattr(self, name, module)

    def register_module(self, name: str, module: Any) -> None:
        """PyTorch's other name for `add_module`."""
        self.add_module(name, module)

    def named_children(self) -> list[tuple[str, Any]]:
        """(name, module) of the modules directly inside this one, each once.

        A function among a Sequential's layers is there too.
        """
        return each_once(named_layers(self))

    def update_modules(self, modules: Any, strict: bool = True) -> Self:
        """MLX's: replace modules by those of a nested dict, `children()` for one."""
        tree = dict(modules.items()) if isinstance(modules, dict) else modules
        super().update_modules(tree, strict)
        return self

    def named_modules(self) -> list[tuple[str, mlx.nn.Module]]:
        """(name, module) of this module (named "") and all inside it, each once."""
        return each_once(named_tree(self))

    def modules(self) -> list[mlx.nn.Module]:
        """This module and all modules inside it, each once."""
        return [module for _, module in self.named_modules()]

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        """(name, array) of every parameter, frozen ones too, buffers left out.

        A parameter that a lazy layer has yet to create is there as an empty array.
        """
        return each_once(
            (full, array)
            for full, owner, name, array in named_arrays(self)
            if name not in buffer_names(owner)
        )

    def named_buffers(self) -> list[tuple[str, Tensor]]:
        """(name, array) of every buffer."""
        return each_once(
            (full, array)
            for full, owner, name, array in named_arrays(self)
            if name in buffer_names(owner)
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Every parameter and persistent buffer under PyTorch's dotted names.

        Raises:
            UninitializedParameterError: if a lazy layer has no weights yet.
        """
        check_initialized(self, "state_dict()", trained_only=False)
        return {
            full: array
            for full, owner, name, array in named_arrays(self)
            if name not in unsaved_names(owner)
        }

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy a state dict into the model: all of it or, on any mismatch, nothing.

        A lazy layer takes its input channels from its 5-D weight.

        Args:
            state_dict: arrays (MLX or NumPy) under the names of `state_dict()`.
            strict: whether missing and unexpected names are mismatches too.

        Returns:
            The named tuple (missing_keys, unexpected_keys).

        Raises:
            StateDictError: listing every mismatch of name, shape and dtype.
        """
        return load_state(self, state_dict, strict)

    def save_weights(self, file: str | os.PathLike[str]) -> None:
        """Save `state_dict()` to an `.npz` or `.safetensors` file; see `lucid.save`."""
        files.save(self.state_dict(), file)

    def load_weights(self, file_or_weights: Any, strict: bool = True) -> Module:
        """MLX's call for `load_state_dict`, from a file or a list of (name, array).

        Names may be PyTorch's (`0.weight`) or those of MLX's `parameters()`
        (`layers.0.weight`). Shapes and dtypes are checked, strict or not.

        Returns:
            The model.
        """
        if isinstance(file_or_weights, str | os.PathLike):
            weights = files.load(file_or_weights)
        else:
            weights = dict(file_or_weights)
        names = mlx_names(self)
        state = {names.get(name, name): array for name, array in weights.items()}
        self.load_state_dict(state, strict)
        return self

    def trainable_parameters(self) -> dict[str, Any]:
        """MLX's nested dict of the arrays that are not frozen.

        Raises:
            UninitializedParameterError: if a lazy layer has no weights yet.
        """
        check_initialized(self, "trainable_parameters()", trained_only=True)
        return super().trainable_parameters()

    def to(
        self, *args: Any, dtype: DTypeLike = None, device: DeviceLike = None
    ) -> Module:
        """Cast the floating arrays, or choose the device that operations run on.

        `to(dtype)`, `to(device)`, `to(device, dtype)`, or by keyword. In unified memory
        nothing is moved. A lazy layer remembers both for its first call.

        Returns:
            The module.

        Raises:
            TypeError: for anything but float32, float16 or bfloat16 as the dtype.
            ValueError: for a device this machine lacks.
        """
        for arg in args:
            if isinstance(arg, mx.Device | mx.DeviceType) or (
                isinstance(arg, str) and arg not in DTYPES
            ):
                device = arg
            else:
                dtype = arg
        if dtype is not None:
            dtype = resolve_dtype(dtype)
            check_float_dtype("dtype", dtype)
        if device is not None:
            name = _device.name(device)
            for module in self.modules():
                if "device" in module.__dict__:
                    module.device = name
        if dtype is not None:
            self.set_dtype(dtype)
        return self

    def half(self) -> Module:
        """Cast the floating arrays to float16."""
        return self.to(mx.float16)

    def bfloat16(self) -> Module:
        """Cast the floating arrays to bfloat16."""
        return self.to(mx.bfloat16)

    def float(self) -> Module:
        """Cast the floating arrays to float32."""
        return self.to(mx.float32)

    def set_dtype(self, dtype: mx.Dtype, predicate: Any = _is_floating) -> None:
        """MLX's cast of every array whose dtype the predicate takes (None: all)."""
        mlx.nn.Module.apply(
            self,
            lambda x: x.astype(dtype) if predicate is None or predicate(x.dtype) else x,
        )

    def apply(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, fn: Callable[[mlx.nn.Module], Any]
    ) -> Module:
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
        for module in children_first(self, set()):
            if uninitialized_names(module):
                module.apply_later(fn)
            else:
                fn(module)
        return self
