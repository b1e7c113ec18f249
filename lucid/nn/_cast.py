"""Where and in what a model computes, and which of it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from lucid import _device
from lucid._types import (
    DTYPES,
    DeviceLike,
    DTypeLike,
    check_float_dtype,
    flag,
    resolve_dtype,
    shown,
)
from lucid.nn._members import named_entries, named_tree
import mlx.core as mx
import mlx.nn

if TYPE_CHECKING:
    from typing_extensions import Self


def _is_floating(dtype: mx.Dtype) -> bool:
    return mx.issubdtype(dtype, mx.floating)


class Castable(mlx.nn.Module):
    """A module that PyTorch's calls cast, move, freeze and switch."""

    def to(
        self,
        *args: Any,
        dtype: DTypeLike = None,
        device: DeviceLike = None,
        non_blocking: bool = False,
        memory_format: Any = None,
    ) -> Self:
        """Cast the floating arrays, or choose the device that operations run on.

        `to(dtype)`, `to(device)`, `to(device, dtype)`, or by keyword. In unified memory
        nothing is moved. A lazy layer remembers both for its first call.

        Args:
            args: a dtype, a device, or both.
            dtype: float32, float16 or bfloat16.
            device: 'cpu', 'gpu' or an MLX device.
            non_blocking: accepted and ignored.
            memory_format: accepted and ignored.

        Returns:
            The module.

        Raises:
            TypeError: for anything but float32, float16 or bfloat16 as the dtype.
            ValueError: for a device this machine lacks.
        """
        for arg in args:
            if isinstance(arg, mx.array):
                raise TypeError("`dtype` must be one, not an array: give array.dtype.")
            if isinstance(arg, bool):
                continue  # non_blocking
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
            for _, module in named_tree(self):
                if "device" in module.__dict__:
                    module.device = name
        if dtype is not None:
            self.set_dtype(dtype)
        return self

    def cpu(self) -> Self:
        """Have operations run on the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Self:
        """Refused with a ValueError: a Mac's GPU is `.to("gpu")`."""
        return self.to("cuda")

    def half(self) -> Self:
        """Cast the floating arrays to float16."""
        return self.to(mx.float16)

    def bfloat16(self) -> Self:
        """Cast the floating arrays to bfloat16."""
        return self.to(mx.bfloat16)

    def float(self) -> Self:
        """Cast the floating arrays to float32."""
        return self.to(mx.float32)

    def double(self) -> Self:
        """Refused with a TypeError: there is no float64 on Apple's GPUs."""
        return self.to(mx.float64)

    def set_dtype(self, dtype: mx.Dtype, predicate: Any = _is_floating) -> None:
        """MLX's cast of every array whose dtype the predicate takes (None: all)."""
        if dtype is None:
            raise TypeError("`dtype` must not be None.")
        if predicate is not None and not callable(predicate):
            raise TypeError(f"`predicate` (={shown(predicate)}) must be a function.")
        wanted = resolve_dtype(dtype)

        def cast(x: mx.array) -> mx.array:
            return x.astype(wanted) if predicate is None or predicate(x.dtype) else x

        mlx.nn.Module.apply(self, cast)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Unfreeze all parameters, or with False freeze them."""
        if flag("requires_grad", requires_grad):
            self.unfreeze()
        else:
            self.freeze()
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch this module, and all inside it by their own `train`, to training.

        Raises:
            ValueError: if `mode` is neither True nor False.
        """
        if not isinstance(mode, bool):
            raise ValueError(f"`mode` (={shown(mode)}) must be True or False.")
        self._set_training_mode(mode)
        for _, child in named_entries(self):
            if isinstance(child, mlx.nn.Module):
                child.train(mode)
        return self

    def eval(self) -> Self:
        """Switch this module, and all inside it, to evaluation: `train(False)`."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> NoReturn:
        """Refused: no gradient is kept; `nn.value_and_grad` returns them anew."""
        raise NotImplementedError(
            "zero_grad() has nothing to reset: gradients are what nn.value_and_grad "
            "returns, anew at every call. Delete the line."
        )

    def register_full_backward_hook(self, hook: Any, prepend: bool = False) -> NoReturn:
        """Refused: gradients are functions' results here; see `mx.custom_function`."""
        raise NotImplementedError(
            "backward hooks do not exist: change the gradients that nn.value_and_grad "
            "returns, or give a function a gradient of its own with mx.custom_function."
        )

    register_backward_hook = register_full_backward_hook
    register_full_backward_pre_hook = register_full_backward_hook
