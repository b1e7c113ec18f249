"""Activation layers: no state, the functions of `lucid.nn.functional`."""

from __future__ import annotations

from lucid._types import Tensor
from lucid.nn import functional as F
from lucid.nn._module import Module
from lucid.nn.functional.activation import check_approximate


class ReLU(Module):
    """max(x, 0), elementwise.

    Args:
        inplace: accepted for PyTorch's sake; the result is always a new array.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.ReLU()(lucid.tensor([-1.0, 2.0]))
        array([0, 2], dtype=float32)
    """

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class GELU(Module):
    """x * Phi(x), Phi the normal distribution function; see `F.gelu`.

    Args:
        approximate: 'none' or 'tanh'.
    """

    def __init__(self, approximate: str = "none"):
        super().__init__()
        check_approximate(approximate)
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x * sigmoid(x), elementwise.

    Args:
        inplace: accepted for PyTorch's sake; the result is always a new array.
    """

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
    """x where x > 0, else negative_slope * x.

    Args:
        negative_slope: the slope below zero.
        inplace: accepted for PyTorch's sake; the result is always a new array.
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        inplace = ", inplace=True" if self.inplace else ""
        return f"negative_slope={self.negative_slope}{inplace}"


class Sigmoid(Module):
    """1 / (1 + exp(-x)), elementwise."""

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class Tanh(Module):
    """The hyperbolic tangent, elementwise."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along one axis.

    Args:
        dim: the axis that sums to 1 afterwards. PyTorch guesses when it is None; Lucid
            asks for it.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
