"""Layer: what every layer with arrays of its own is written over.

A layer writes, and nothing else needs to be written for it to be lazy too:

- `__init__`: checks and keeps the arguments, a size that can be inferred through
  `self._size(name, value)`; ends with `self._create_arrays(device, dtype)`.
- `parameter_shapes()`: name -> shape of every array, parameters and buffers, in the
  order of the state dict. None is a length that depends on the input. An array that
  the arguments leave out is not in it, and its attribute is set to None.
- `buffer_dtypes`: which of these names are buffers, each with its dtype (None: the
  layer's). A layer without buffers leaves it out.
- `reset_parameters()`: overwrites the arrays, which have their shapes and are zeros.
- `infer(input)`: the inferred sizes by name, read off the arguments of the first call,
  refusing whatever `forward` would refuse.
- `sizes_from(values)`: the same, read off arrays of a state dict, whose shapes were
  checked; None if these do not tell.
- `forward(input)`: computes, `with self._on_device()`.

Its lazy twin is `class LazyX(LazyModule, X)` with a docstring and an `__init__` that
has the arguments of X but the sizes, and gives 0 for those:

    def __init__(self, eps=1e-5, device=None, dtype=None):
        super().__init__(0, eps, device=device, dtype=dtype)
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from lucid import _device
from lucid._types import (
    DTYPES,
    DeviceLike,
    DTypeLike,
    Tensor,
    check_allocatable,
    check_float_dtype,
    positive,
    resolve_dtype,
)
from lucid.nn._module import Module
import mlx.core as mx

Shapes = dict[str, tuple[int | None, ...]]


class Layer(Module):
    """A module whose arrays follow from its sizes; see the head of this file."""

    buffer_dtypes: ClassVar[Mapping[str, str | None]] = {}

    def parameter_shapes(self) -> Shapes:
        """The shape of each array, None where it depends on the input."""
        return {}

    def reset_parameters(self) -> None:
        """Give every array its first value anew."""

    def infer(self, *args: Any, **kwargs: Any) -> dict[str, int]:
        """The inferred sizes, by name, read off the arguments of a first call."""
        raise NotImplementedError(f"{type(self).__name__} has no `infer`.")

    def sizes_from(self, values: Mapping[str, Tensor]) -> dict[str, int] | None:
        """The inferred sizes, by name, read off a state dict; None if it has not."""
        return None

    def _size(self, name: str, value: Any) -> Any:
        """A size that a lazy twin infers, checked; None in the twin."""
        return positive(name, value)

    def _create_arrays(self, device: DeviceLike, dtype: DTypeLike) -> None:
        """Check and keep device and dtype, and create the arrays, now or later."""
        self.device = _device.name(device)
        resolved = resolve_dtype(dtype)
        check_float_dtype("dtype", resolved)
        for name in self.parameter_shapes():
            own = self.buffer_dtypes.get(name)
            # Empty, it carries the dtype to _allocate.
            empty = mx.array([], DTYPES[own] if own else resolved)
            dict.__setitem__(self, name, empty)
            if name in self.buffer_dtypes:
                self._no_grad.add_buffer(name)
        self._start()

    def _start(self) -> None:
        self._allocate()
        self.reset_parameters()

    def _allocate(self) -> None:
        """Give every array its shape; MLX computes no zeros that are overwritten."""
        for name, shape in self.parameter_shapes().items():
            if name in self:  # else it was set to None
                sizes = tuple(length or 0 for length in shape)
                dtype = self[name].dtype
                check_allocatable(f"`{name}` of {self!r}", sizes, dtype.size)
                self[name] = mx.zeros(sizes, dtype)

    def _on_device(self) -> AbstractContextManager[Any]:
        return _device.running_on(self.device)

    def __delattr__(self, name: str) -> None:
        if name in self.parameter_shapes():
            setattr(self, name, None)  # a layer without one, as PyTorch has it
        else:
            super().__delattr__(name)
