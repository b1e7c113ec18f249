"""Activations, with PyTorch's arguments; computed by MLX's.

`inplace` is taken, as ported code passes it, and changes nothing: the result is always
a new array.
"""

from __future__ import annotations

from lucid._types import (
    Tensor,
    axis_of,
    check_array,
    check_float_dtype,
    check_floating,
    check_real,
    dtype_name,
    one_of,
    real,
)
from lucid.layout import axis_in_memory, elementwise, in_memory_order
from lucid.ops import activation as ops
from lucid.ops.softmax import Normalized
import mlx.core as mx
import mlx.nn

# Klambauer et al., 2017: what keeps mean 0 and variance 1.
_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), elementwise."""
    check_real("input", input)
    return elementwise(lambda x: ops.leaky_relu(x, 0.0), input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x), Phi being the normal distribution (Hendrycks & Gimpel, 2016).

    Args:
        input: any floating array.
        approximate: 'none' for the error function, 'tanh' for the paper's formula.

    Raises:
        ValueError: if `approximate` is neither.
    """
    check_floating("input", input)
    check_approximate(approximate)
    function = mlx.nn.gelu if approximate == "none" else mlx.nn.gelu_approx
    return elementwise(function, input)


def check_approximate(approximate: str) -> None:
    """Refuse what `gelu` does not know."""
    one_of("approximate", approximate, ("none", "tanh"))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x), elementwise."""
    check_floating("input", input)
    return elementwise(mlx.nn.silu, input)


def leaky_relu(
    input: Tensor, negative_slope: float = 0.01, inplace: bool = False
) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    check_floating("input", input)
    negative_slope = real("negative_slope", negative_slope)
    return elementwise(lambda x: ops.leaky_relu(x, negative_slope), input)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight * x, with a learned weight (He et al., 2015).

    Args:
        input: any floating array.
        weight: one slope, or one for each entry of axis 1; of the same dtype.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: if the number of slopes is wrong.
    """
    check_array("input", input)
    check_array("weight", weight)
    check_float_dtype("input", input.dtype)
    if weight.dtype != input.dtype:
        raise TypeError(
            f"`weight` (={dtype_name(weight.dtype)}) must have the dtype of `input` "
            f"(={dtype_name(input.dtype)})."
        )
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in (1, channels):
        raise ValueError(
            f"`weight` must have shape (1,) or ({channels},), got {weight.shape}."
        )

    def of_channels(x: Tensor, channel_axis: int) -> Tensor:
        spread = [1] * x.ndim
        if weight.size > 1:
            spread[channel_axis] = channels
        return ops.prelu(x, weight.reshape(spread))

    return in_memory_order(of_channels, input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al., 2016)."""
    check_floating("input", input)
    alpha = real("alpha", alpha)
    # A minimum's gradient at 0 goes to its second argument: x counts as negative.
    return elementwise(
        lambda x: mx.maximum(x, 0.0) + alpha * mx.expm1(mx.minimum(0.0, x)), input
    )


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """`elu`, scaled so that networks normalize themselves (Klambauer et al., 2017)."""
    return _SELU_SCALE * elu(input, _SELU_ALPHA)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x / alpha) - 1) (Barron, 2017).

    Raises:
        ValueError: if `alpha` is 0.
    """
    check_floating("input", input)
    alpha = real("alpha", alpha)
    if alpha == 0:
        raise ValueError("`alpha` (=0) must not be 0.")
    return elementwise(
        lambda x: mx.maximum(x, 0.0) + alpha * mx.expm1(mx.minimum(0.0, x) / alpha),
        input,
    )


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)) (Misra, 2019)."""
    check_floating("input", input)
    return elementwise(_mish, input)


def _mish(x: Tensor) -> Tensor:
    # With e = exp(x), tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2): one exponential,
    # in float32 since it is squared, and 1 beyond 20.
    wide = x.astype(mx.float32)
    e = mx.exp(mx.minimum(wide, 20.0))
    ratio = e * (e + 2)
    return (wide * (ratio / (ratio + 2))).astype(x.dtype)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * min(max(x + 3, 0), 6) / 6 (Howard et al., 2019)."""
    check_floating("input", input)
    return elementwise(
        lambda x: x * (mx.minimum(6.0, mx.maximum(0.0, x + 3)) / 6), input
    )


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold."""
    check_floating("input", input)
    beta = real("beta", beta)
    threshold = real("threshold", threshold)

    def function(x: Tensor) -> Tensor:
        scaled = beta * x
        return mx.where(scaled > threshold, x, mx.logaddexp(scaled, 0.0) / beta)

    return elementwise(function, input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), elementwise."""
    check_real("input", input)
    return elementwise(mx.sigmoid, input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, elementwise."""
    check_real("input", input)
    return elementwise(mx.tanh, input)


def softmax(input: Tensor, dim: int) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`."""
    check_floating("input", input)
    axis = axis_of("dim", dim, input.ndim)

    def along(x: Tensor, channel_axis: int) -> Tensor:
        at = axis_in_memory(axis, channel_axis)
        return mx.softmax(x, axis=at, precise=True)  # half types in float32

    return in_memory_order(along, input)


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """x - log(sum(exp(x))) along `dim`."""
    check_floating("input", input)
    axis = axis_of("dim", dim, input.ndim)
    if input.size == 0:
        return input

    def along(x: Tensor, channel_axis: int) -> Tensor:
        return x - Normalized(x, axis_in_memory(axis, channel_axis)).logsumexp

    return in_memory_order(along, input)
