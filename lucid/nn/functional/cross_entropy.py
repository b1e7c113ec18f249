"""Cross entropy with PyTorch's arguments and numbers."""

from __future__ import annotations

from typing import Any

from lucid._types import Tensor, check_array, dtype_name, integer, real, scalar
from lucid.nn.functional.loss import check_computable, check_reduction, reduced_by
from lucid.ops import loss as ops
from lucid.ops.softmax import Normalized
import mlx.core as mx


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """-input[target], the cross entropy of log-probabilities.

    Arguments, shapes and errors as for `cross_entropy`; `target` has class indices.
    """
    check_reduction(reduction)
    x, t = _batched(input, target)
    labels = _labels(x, t, ignore_index)
    factors = _class_weight(weight, x.shape[1])
    loss = _of_classes(-labels.pick(x), labels, factors, reduction)
    return _unbatched(loss, input, reduction)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log(softmax(input)[target]), the softmax taken over the classes (axis 1).

    An index that is neither a class nor `ignore_index` makes the loss NaN, and such
    voxels have no gradient. (PyTorch raises; here nothing is computed yet.)

    Args:
        input: scores (logits).
        target: class indices, in any integer dtype, or probabilities of the classes.
        weight: a factor for each class; the mean is weighted by the targets' factors.
        ignore_index: voxels with this index are ignored.
        reduction: 'none', 'mean' or 'sum'.
        label_smoothing: the part of each target, in [0, 1], spread over all classes.

    Shape:
        - input: (N, C, D, H, W), or (N, C, ...), or (C,)
        - target: indices (N, D, H, W), or (N, ...), or (); probabilities: as input
        - weight: (C,)
        - output: (), or with 'none' (N, D, H, W), or (N, ...), or ()

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: shapes that do not fit, a number outside its range.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> scores, target = lucid.zeros(1, 4, 2, 2, 2), lucid.randint(4, (1, 2, 2, 2))
        >>> F.cross_entropy(scores, target)
        array(1.38629, dtype=float32)
    """
    check_reduction(reduction)
    if not 0 <= real("label_smoothing", label_smoothing) <= 1:
        raise ValueError(f"`label_smoothing` (={label_smoothing}) must be in [0, 1].")
    x, t = _batched(input, target)
    loss = cross_entropy_of(
        Normalized(x, 1), t, weight, ignore_index, reduction, label_smoothing
    )
    return _unbatched(loss, input, reduction)


def cross_entropy_of(
    scores: Normalized,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    """`cross_entropy` of float32 scores (N, C, ...) whose exponential may be shared."""
    x, classes = scores.x, scores.x.shape[1]
    factors = _class_weight(weight, classes)
    each = None if factors is None else factors.reshape(classes, *[1] * (x.ndim - 2))
    if target.shape == x.shape:
        t = _probabilities(target, ignore_index)
        if label_smoothing:
            t = t * (1 - label_smoothing) + label_smoothing / classes
        loss = (scores.logsumexp - x) * (t if each is None else t * each)
        return reduced_by(loss.sum(axis=1), reduction)
    labels = _labels(x, target, ignore_index)
    loss = scores.cross_entropy(labels)
    if not label_smoothing:
        return _of_classes(loss, labels, factors, reduction)
    spread = scores.logsumexp - x
    spread = (spread if each is None else spread * each).sum(axis=1)
    return _of_classes(
        loss, labels, factors, reduction, label_smoothing, spread / classes
    )


def _of_classes(
    loss: mx.array,
    labels: ops.Labels,
    weight: mx.array | None,
    reduction: str,
    smoothing: float = 0.0,
    spread: mx.array | None = None,
) -> mx.array:
    """Each voxel's loss times its class's weight, without what is no class."""
    count = labels.is_class.sum()
    if weight is not None:
        factors = labels.is_class * weight[labels.index]
        loss, count = loss * factors, ops.total(factors)
    # A product alone would make a NaN of an infinite loss that does not count.
    loss = mx.where(labels.is_class, loss, 0.0)
    if spread is not None:
        loss = (1 - smoothing) * loss + smoothing * mx.where(
            labels.is_class, spread, 0.0
        )
    if reduction == "mean":
        return ops.total(loss) / count + labels.penalty
    return reduced_by(loss, reduction) + labels.penalty


def _batched(input: Any, target: Any) -> tuple[mx.array, mx.array]:
    """Scores (N, C, ...) in float32, and what they are compared with."""
    check_computable("input", input)
    check_array("target", target)
    if input.ndim == 0 or input.shape[min(1, input.ndim - 1)] == 0:
        raise ValueError(f"`input` must have classes on axis 1, got {input.shape}.")
    x = input.astype(mx.float32)
    if input.ndim == 1:
        return x[None], target[None]
    return x, target


def _unbatched(loss: mx.array, input: Tensor, reduction: str) -> mx.array:
    if reduction == "none" and input.ndim == 1:
        loss = loss[0]
    return loss.astype(input.dtype)


def _labels(x: mx.array, target: mx.array, ignore_index: int) -> ops.Labels:
    if not mx.issubdtype(target.dtype, mx.integer):
        raise TypeError(
            f"`target` (={dtype_name(target.dtype)}) must be integers, or "
            "probabilities of the shape of `input`."
        )
    shape = (x.shape[0], *x.shape[2:])
    if target.shape != shape:
        raise ValueError(f"`target` must have shape {shape}, got {target.shape}.")
    ignored = integer("ignore_index", ignore_index)
    scalar("ignore_index", ignored, mx.int64)
    return ops.Labels(target, x.shape[1], ignored)


def _probabilities(target: mx.array, ignore_index: int) -> mx.array:
    if not mx.issubdtype(target.dtype, mx.floating):
        raise TypeError(
            f"`target` (={dtype_name(target.dtype)}) of the shape of `input` must be "
            "probabilities, in a floating dtype."
        )
    if integer("ignore_index", ignore_index) >= 0:
        raise ValueError(
            f"`ignore_index` (={ignore_index}) needs class indices, not probabilities."
        )
    return target.astype(mx.float32)


def _class_weight(weight: Any, classes: int) -> mx.array | None:
    if weight is None:
        return None
    check_computable("weight", weight)
    if weight.shape != (classes,):
        raise ValueError(f"`weight` must have shape ({classes},), got {weight.shape}.")
    return weight.astype(mx.float32)
