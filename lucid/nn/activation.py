"""Activation layers: the functions of `lucid.nn.functional`."""

from __future__ import annotations

from lucid import _device
from lucid._types import (
    DeviceLike,
    DTypeLike,
    Tensor,
    check_allocatable,
    check_float_dtype,
    flag,
    integer,
    positive,
    real,
    resolve_dtype,
)
from lucid.nn import functional as F
from lucid.nn._module import Module
from lucid.nn.functional.activation import check_approximate
import mlx.core as mx


class _Inplace(Module):
    """What has PyTorch's `inplace` as its only argument."""

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = flag("inplace", inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class ReLU(_Inplace):
    """max(x, 0), elementwise.

    Args:
        inplace: accepted as in PyTorch; the result is always a new array.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.ReLU()(lucid.tensor([-1.0, 2.0]))
        array([0, 2], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input)


class GELU(Module):
    """x * Phi(x), Phi being the normal distribution function; see `F.gelu`.

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


class SiLU(_Inplace):
    """x * sigmoid(x), elementwise.

    Args:
        inplace: accepted as in PyTorch; the result is always a new array.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope * x.

    Args:
        negative_slope: the slope below zero.
        inplace: accepted as in PyTorch; the result is always a new array.
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        super().__init__()
        self.negative_slope = real("negative_slope", negative_slope)
        self.inplace = flag("inplace", inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        inplace = ", inplace=True" if self.inplace else ""
        return f"negative_slope={self.negative_slope}{inplace}"


class PReLU(Module):
    """x where x > 0, else weight * x, with a learned weight.

    Args:
        num_parameters: 1, or the number of channels (the length of axis 1) for one
            slope each.
        init: first value of the slopes.
        device: as in `Conv3d`.
        dtype: as in `Conv3d`.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.PReLU()(lucid.tensor([-1.0, 2.0]))
        array([-0.25, 2], dtype=float32)
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ):
        super().__init__()
        self.num_parameters = positive("num_parameters", num_parameters)
        self.init = real("init", init)
        self.device = _device.name(device)
        resolved = resolve_dtype(dtype)
        check_float_dtype("dtype", resolved)
        check_allocatable("`num_parameters`", (self.num_parameters,), resolved.size)
        self.weight = mx.full((self.num_parameters,), self.init, resolved)

    def forward(self, input: Tensor) -> Tensor:
        with _device.running_on(self.device):
            return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """x where x > 0, else alpha * (exp(x) - 1).

    Args:
        alpha: minus the limit for large negative x.
        inplace: accepted as in PyTorch; the result is always a new array.
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__()
        self.alpha = real("alpha", alpha)
        self.inplace = flag("inplace", inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class SELU(_Inplace):
    """`ELU`, scaled so that networks normalize themselves; see `F.selu`.

    Args:
        inplace: accepted as in PyTorch; the result is always a new array.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input)


class CELU(Module):
    """x where x > 0, else alpha * (exp(x / alpha) - 1).

    Args:
        alpha: minus the limit for large negative x.
        inplace: accepted as in PyTorch; the result is always a new array.
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        super().__init__()
        self.alpha = real("alpha", alpha)
        self.inplace = flag("inplace", inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class Mish(_Inplace):
    """x * tanh(softplus(x)), elementwise.

    Args:
        inplace: accepted as in PyTorch; the result is always a new array.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input)


class Hardswish(Module):
    """x * min(max(x + 3, 0), 6) / 6, elementwise.

    Args:
        inplace: accepted as in PyTorch; the result is always a new array.
    """

    def __init__(self, inplace: bool = False):
        super().__init__()
        self.inplace = flag("inplace", inplace)

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input)


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta, a smooth ReLU.

    Args:
        beta: how sharply it bends at zero.
        threshold: where beta * x is larger, the result is x itself.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        super().__init__()
        self.beta = real("beta", beta)
        self.threshold = real("threshold", threshold)

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


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
        dim: the axis that sums to 1 afterwards. It must be given, unlike in PyTorch.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = integer("dim", dim)

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """x - log(sum(exp(x))) along one axis.

    Args:
        dim: the axis. It must be given, unlike in PyTorch.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = integer("dim", dim)

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
