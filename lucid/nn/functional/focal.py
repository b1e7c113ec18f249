"""Focal loss, with MONAI's arguments and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
import warnings

from lucid._types import Tensor, flag, real
from lucid.nn.functional.loss import check_reduction, reduced_by
from lucid.nn.functional.segmentation import Compared, Comparison, of_each_class
from lucid.ops import loss as ops
from lucid.ops.softmax import Normalized
import mlx.core as mx

# What MONAI divides by at least.
_LEAST = 2.0**-23


def focal_loss(
    input: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    use_softmax: bool = False,
    **comparison: Any,
) -> Tensor:
    """-(1 - q)^gamma * log(q), where q is the predicted probability of the target.

    Lin et al., 2017; the options of `nn.FocalLoss`.
    """
    check_reduction(reduction)
    alpha, use_softmax = numbers_of_alpha(alpha), flag("use_softmax", use_softmax)
    compare = Comparison(**comparison)
    compared = compare(input, target)
    if use_softmax:
        if not compare.include_background and isinstance(alpha, int | float):
            warnings.warn(
                "`include_background=False`: scalar `alpha` ignored with a softmax.",
                stacklevel=4,
            )
            alpha = None
        loss = _of_softmax(compared, real("gamma", gamma), alpha)
    else:
        loss = _of_sigmoid(compared, real("gamma", gamma), alpha)
    if compared.mask is not None:
        loss = loss * compared.mask
    if weight is not None:
        loss = loss * _along_classes(_checked_weight(weight, loss.shape[1]), loss)
    loss = _mean_of_volumes(loss, compared.mask, reduction) + compared.penalty
    return loss.astype(input.dtype)


def numbers_of_alpha(alpha: Any) -> Any:
    """None, a number, or one for each class."""
    if alpha is None or isinstance(alpha, mx.array):
        return alpha
    if isinstance(alpha, tuple | list):
        return [real("alpha", entry) for entry in alpha]
    return real("alpha", alpha)


def _of_softmax(compared: Compared, gamma: float, alpha: Any) -> mx.array:
    x, t = compared.prediction, compared.target
    log_q = x - Normalized(x, 1).logsumexp
    loss = -_power(1 - mx.exp(log_q), gamma) * log_q * t
    if alpha is None:
        return loss
    if isinstance(alpha, int | float):
        alpha = [1 - alpha] + [alpha] * (x.shape[1] - 1)
    return loss * _along_classes(_checked_alpha(alpha, x.shape[1]), x)


def _of_sigmoid(compared: Compared, gamma: float, alpha: Any) -> mx.array:
    x, t = compared.prediction, compared.target
    loss = x - x * t + mx.logaddexp(-x, 0.0)
    # (1 - q)^gamma, through its logarithm
    loss = loss * mx.exp(-gamma * mx.logaddexp(x * (2 * t - 1), 0.0))
    if alpha is None:
        return loss
    if isinstance(alpha, int | float):
        return loss * (t * alpha + (1 - t) * (1 - alpha))
    each = _along_classes(_checked_alpha(alpha, x.shape[1]), x)
    return loss * mx.where(t == 1, each, 1.0)


def _power(x: mx.array, gamma: float) -> mx.array:
    """x^gamma of an x that rounding may have made negative."""
    if gamma == 0:
        return mx.ones_like(x)
    if gamma == 2:
        return mx.square(x)
    return mx.power(mx.maximum(x, 0.0), gamma)


def _mean_of_volumes(loss: mx.array, mask: mx.array | None, reduction: str) -> mx.array:
    """A mean over the voxels that count; a sum of the volumes' means."""
    if mask is None and reduction == "sum":
        voxels = loss[0, 0].size if loss.ndim > 2 else loss.size
        return ops.total(loss) / voxels
    if mask is None or reduction == "none":
        return reduced_by(loss, reduction)
    keep = 0 if reduction == "mean" else 2
    counts = mx.maximum(ops.total(mask, keep), _LEAST)
    return ops.total(ops.total(loss, keep) / counts)


def _checked_alpha(alpha: Any, classes: int) -> mx.array:
    values = mx.array(alpha, mx.float32)
    if values.shape != (classes,):
        raise ValueError(
            f"`alpha` must be a number or have {classes} entries, one for each class "
            f"that counts, got shape {values.shape}."
        )
    return values


def _checked_weight(weight: Tensor, classes: int) -> mx.array:
    if classes == 1 and weight.ndim:
        raise ValueError("`weight` for each class needs more classes than one.")
    return of_each_class(weight, classes)


def _along_classes(values: mx.array, x: mx.array) -> mx.array:
    return values.reshape(-1, *[1] * (x.ndim - 2))
