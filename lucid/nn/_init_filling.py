"""What all initializers do: check their tensor, and overwrite it."""

from __future__ import annotations

from lucid._types import Tensor, check_floating, finite
import mlx.core as mx


def check_tensor(tensor: Tensor) -> None:
    if not isinstance(tensor, mx.array):
        raise TypeError(
            f"`tensor` must be a lucid.Tensor, got {type(tensor).__name__}; a lazy "
            "layer has none before its first call or lucid.nn.materialize."
        )


def check_drawn(tensor: Tensor) -> None:
    check_tensor(tensor)
    check_floating("tensor", tensor)


def not_negative(name: str, value: float) -> float:
    """A scale, which leaves room for what is drawn in float32."""
    number = finite(name, value)
    if not 0 <= number <= 1e30:
        raise ValueError(f"`{name}` (={number}) must be from 0 to 1e30.")
    return number


def fill(tensor: Tensor, values: Tensor) -> Tensor:
    tensor[...] = values.astype(tensor.dtype)
    return tensor


def check_matrix(tensor: Tensor) -> None:
    check_tensor(tensor)
    if tensor.ndim != 2:
        raise ValueError(f"`tensor` must have 2 axes, got shape {tensor.shape}.")
