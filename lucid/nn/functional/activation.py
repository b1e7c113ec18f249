"""Activations, with PyTorch's arguments; computed by MLX's."""

from __future__ import annotations

from lucid._types import Tensor
import mlx.core as mx
import mlx.nn


def relu(input: Tensor) -> Tensor:
    """max(x, 0), elementwise."""
    return mlx.nn.relu(input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x), Phi the normal distribution function (Hendrycks & Gimpel, 2016).

    Args:
        input: any floating array.
        approximate: 'none' for the error function, 'tanh' for the paper's formula.

    Raises:
        ValueError: for another `approximate`.
    """
    check_approximate(approximate)
    return (mlx.nn.gelu if approximate == "none" else mlx.nn.gelu_approx)(input)


def check_approximate(approximate: str) -> None:
    """Refuse what `gelu` does not know."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"`approximate` (={approximate!r}) must be 'none' or 'tanh'.")


def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x), elementwise."""
    return mlx.nn.silu(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    return mlx.nn.leaky_relu(input, negative_slope)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), elementwise."""
    return mx.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, elementwise."""
    return mx.tanh(input)


def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    return mx.softmax(input, axis=dim)
