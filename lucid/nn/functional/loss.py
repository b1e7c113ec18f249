"""Losses with PyTorch's arguments and numbers.

All are computed in float32 and returned in the dtype of `input`. A `target` may have
any real dtype, and where it is compared number by number it must have the shape of
`input`: PyTorch broadcasts it, with a warning.
"""

from __future__ import annotations

from typing import Any

from lucid._types import (
    Tensor,
    check_array,
    check_float_dtype,
    dtype_name,
    one_of,
    real,
)
from lucid.ops import loss as ops
import mlx.core as mx

REDUCTIONS = ("none", "mean", "sum")


def l1_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|.

    Args:
        input: predictions; any shape.
        target: targets; the same shape.
        reduction: 'none', 'mean' or 'sum'.
        weight: factors, of the same shape; the mean is weighted by them.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: shapes that differ, or an unknown `reduction`.
    """
    x, t = _pair(input, target, reduction)
    return _weighted(mx.abs(x - t), weight, reduction, input)


def mse_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)^2; arguments as for `l1_loss`."""
    x, t = _pair(input, target, reduction)
    return _weighted(mx.square(x - t), weight, reduction, input)


def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """With e = |input - target|: e^2 / (2 beta) below beta, e - beta / 2 above.

    Arguments as for `l1_loss`; `beta` must not be negative, and 0 is `l1_loss`.
    """
    if not real("beta", beta) >= 0:
        raise ValueError(f"`beta` (={beta}) must not be negative.")
    if beta == 0:
        return l1_loss(input, target, reduction)
    x, t = _pair(input, target, reduction)
    return _reduced(_huber(x - t, beta) / beta, reduction, input)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """With e = |input - target|: e^2 / 2 below delta, delta (e - delta / 2) above.

    Arguments as for `l1_loss`, but the mean is over the number of entries even with
    weights, as in PyTorch; `delta` must be positive.
    """
    if not real("delta", delta) > 0:
        raise ValueError(f"`delta` (={delta}) must be positive.")
    x, t = _pair(input, target, reduction)
    loss = _huber(x - t, delta)
    if weight is not None:
        loss = loss * _factors(weight, input)
    return _reduced(loss, reduction, input)


def _huber(error: mx.array, delta: float) -> mx.array:
    clipped = mx.clip(error, -delta, delta)
    return clipped * (error - clipped / 2)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(t log(x) + (1 - t) log(1 - x)) of probabilities x; each log is at least -100.

    Args:
        input: probabilities. Outside [0, 1] the loss is NaN, where PyTorch raises.
        target: 0, 1 or between; the same shape.
        weight: factors that broadcast against `input`.
        reduction: 'none', 'mean' (over the number of entries, also with weights) or
            'sum'.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: shapes that do not fit, or an unknown `reduction`.
    """
    x, t = _pair(input, target, reduction)
    loss = ops.binary_cross_entropy(x, t)
    return _reduced(_times(loss, "weight", weight), reduction, input)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy(sigmoid(input), target)`, numerically stable.

    Args:
        input: scores (logits), any shape.
        target: 0, 1 or between; the same shape.
        weight: factors that broadcast against `input`.
        reduction: 'none', 'mean' (over the number of entries, also with weights) or
            'sum'.
        pos_weight: factors of the first term, t log(x), that broadcast against
            `input`: above 1 they favor recall. One for each channel of a volume has
            shape (C, 1, 1, 1).

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: shapes that do not fit, or an unknown `reduction`.
    """
    x, t = _pair(input, target, reduction)
    positive = _times(t, "pos_weight", pos_weight)
    loss = (1 - t) * x + (positive + (1 - t)) * mx.logaddexp(-x, 0.0)
    return _reduced(_times(loss, "weight", weight), reduction, input)


def check_reduction(reduction: str) -> str:
    """`reduction`, which must be one of the three."""
    return one_of("reduction", reduction, REDUCTIONS)


def check_computable(name: str, value: Any) -> None:
    """Refuse what is not an array of a dtype that Lucid computes in."""
    check_array(name, value)
    check_float_dtype(name, value.dtype)


def check_real(name: str, value: Any) -> None:
    """Refuse what is not an array of real numbers."""
    check_array(name, value)
    if value.dtype in (mx.complex64, mx.float64):
        raise TypeError(
            f"`{name}` (={dtype_name(value.dtype)}) must be float32, float16, bfloat16 "
            "or integers."
        )


def _pair(input: Any, target: Any, reduction: str) -> tuple[mx.array, mx.array]:
    """Input and target of one shape, in float32."""
    check_computable("input", input)
    check_real("target", target)
    check_reduction(reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"`target` must have the shape of `input` {input.shape}, "
            f"got {target.shape}."
        )
    return input.astype(mx.float32), target.astype(mx.float32)


def _times(x: mx.array, name: str, factors: Any) -> mx.array:
    """x times factors that broadcast against it."""
    if factors is None:
        return x
    check_real(name, factors)
    try:
        fits = mx.broadcast_shapes(factors.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`{name}` must broadcast against `input` {x.shape}, got {factors.shape}."
        )
    return x * factors.astype(mx.float32)


def _factors(weight: Any, input: Tensor) -> mx.array:
    """A weight for each entry of the input, in float32."""
    check_real("weight", weight)
    if weight.shape != input.shape:
        raise ValueError(
            f"`weight` must have the shape of `input` {input.shape}, "
            f"got {weight.shape}."
        )
    return weight.astype(mx.float32)


def _weighted(loss: mx.array, weight: Any, reduction: str, input: Tensor) -> mx.array:
    """Reduced, a mean being over the sum of the weights."""
    if weight is None:
        return _reduced(loss, reduction, input)
    factors = _factors(weight, input)
    loss = loss * factors
    if reduction == "mean":
        return (ops.total(loss) / ops.total(factors)).astype(input.dtype)
    return _reduced(loss, reduction, input)


def _reduced(loss: mx.array, reduction: str, input: Tensor) -> mx.array:
    return reduced_by(loss, reduction).astype(input.dtype)


def reduced_by(loss: mx.array, reduction: str) -> mx.array:
    """The loss of each entry, or the sum or mean of all."""
    if reduction == "none":
        return loss
    return ops.total(loss) / (loss.size if reduction == "mean" else 1)
