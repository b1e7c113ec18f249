"""Losses of segmentation, with MONAI's arguments and numbers.

`input` is (N, C, D, H, W), or (N, C, ...), with C classes on axis 1. `target` is one
volume for each class, or with `to_onehot_y` one volume (N, 1, ...) of class indices; an
index that is no class makes the loss NaN, where MONAI raises. All is computed in
float32 and returned in the dtype of `input`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
import warnings

from lucid._types import Tensor, check_array, flag, integer, one_of, real, scalar
from lucid.nn.functional.loss import (
    check_computable,
    check_real,
    check_reduction,
    reduced_by,
)
from lucid.ops import loss as ops
from lucid.ops.softmax import Normalized
import mlx.core as mx

W_TYPES = ("square", "simple", "uniform")


@dataclass(frozen=True)
class Comparison:
    """How scores become what a target is compared with.

    Attributes:
        include_background: whether to include class 0.
        to_onehot_y: whether the target holds class indices.
        sigmoid: whether the scores first go through a sigmoid.
        softmax: whether the scores first go through a softmax.
        other_act: another function that the scores first go through.
        ignore_index: voxels with this index are ignored. Where the target is one-hot,
            voxels of this class; for an index that is no class, voxels of none.
    """

    include_background: bool = True
    to_onehot_y: bool = False
    sigmoid: bool = False
    softmax: bool = False
    other_act: Callable[[Tensor], Tensor] | None = None
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        if self.other_act is not None and not callable(self.other_act):
            kind = type(self.other_act).__name__
            raise TypeError(f"`other_act` must be a function or None, got {kind}.")
        if self.sigmoid + self.softmax + (self.other_act is not None) > 1:
            raise ValueError(
                "only one of `sigmoid`, `softmax` and `other_act` can be asked for."
            )
        if self.ignore_index is not None:
            ignored = integer("ignore_index", self.ignore_index)
            scalar("ignore_index", ignored, mx.int64)

    def __call__(
        self, input: Any, target: Any, scores: Normalized | None = None
    ) -> Compared:
        """Prediction and target of one shape; `scores` if their softmax is known."""
        check_computable("input", input)
        check_real("target", target)
        if input.ndim < 2 or target.ndim != input.ndim:
            raise ValueError(
                "`input` and `target` must be (N, C, ...), of as many axes, got "
                f"shapes {input.shape} and {target.shape}."
            )
        if input.shape[1] == 1:
            self._warn_of_what_needs_classes()
        mask = self._mask(target)
        y, penalty = self._one_hot(target, input.shape[1])
        x = self._activated(input.astype(mx.float32), scores)
        if not self.include_background and x.shape[1] > 1:
            x, y = x[:, 1:], y[:, 1:]
        if x.shape != y.shape:
            raise ValueError(
                f"`target` must have the shape {x.shape} that is compared, "
                f"got {y.shape}; `to_onehot_y` is for class indices (N, 1, ...)."
            )
        if mask is not None:
            x, y = x * mask, y * mask
        return Compared(x, y, mask, penalty)

    def _warn_of_what_needs_classes(self) -> None:
        for asked, name in (
            (self.softmax, "softmax=True"),
            (self.to_onehot_y, "to_onehot_y=True"),
            (not self.include_background, "include_background=False"),
        ):
            if asked:
                message = f"single channel prediction, `{name}` ignored."
                warnings.warn(message, stacklevel=7)  # where a layer is called

    def _activated(self, x: mx.array, scores: Normalized | None) -> mx.array:
        if self.sigmoid:
            return mx.sigmoid(x)
        if self.softmax and x.shape[1] > 1:
            return (scores or Normalized(x, 1)).softmax
        return x if self.other_act is None else self.other_act(x)

    def _one_hot(self, target: mx.array, classes: int) -> tuple[mx.array, mx.array]:
        if not self.to_onehot_y or classes == 1:
            return target.astype(mx.float32), mx.array(0.0)
        if target.shape[1] != 1:
            raise ValueError(
                "`target` with `to_onehot_y` must be class indices (N, 1, ...), got "
                f"shape {target.shape}."
            )
        labels = ops.Labels(as_integers(target)[:, 0], classes, self.ignore_index)
        return labels.one_hot(), labels.penalty

    def _mask(self, target: mx.array) -> mx.array | None:
        """1 where a voxel counts, (N, 1, ...)."""
        if self.ignore_index is None:
            return None
        if target.shape[1] == 1:
            ignored = mx.array(self.ignore_index, mx.int64)  # MLX would take int32
            return (target != ignored).astype(mx.float32)
        y = target.astype(mx.float32)
        if 0 <= self.ignore_index < target.shape[1]:
            return 1 - y[:, self.ignore_index : self.ignore_index + 1]
        return (y.sum(axis=1, keepdims=True) > 0).astype(mx.float32)


@dataclass(frozen=True)
class Compared:
    """What a loss compares, in float32, with what the loss is multiplied or raised by.

    Attributes:
        prediction: (N, C, ...).
        target: of the same shape.
        mask: (N, 1, ...), 1 where a voxel counts; None if all do.
        penalty: what is added to the loss: NaN if some index is no class.
    """

    prediction: mx.array
    target: mx.array
    mask: mx.array | None
    penalty: mx.array

    def area(self, x: mx.array, batch: bool) -> mx.array:
        """The sum over the voxels: (N, C), or (C,) for a whole batch."""
        sums = ops.total(x, keep=2)
        return sums.sum(axis=0) if batch else sums

    def areas(
        self, squared: bool, soft_label: bool, batch: bool
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Of each class the common area, the prediction's and the target's.

        With `soft_label` the common area is half of what the sum of the two exceeds
        their distance by (Wang et al., 2023).
        """
        p, t = self.prediction, self.target
        if p.ndim < 3:
            raise ValueError(f"`input` must be (N, C, ...) of voxels, got {p.shape}.")
        squared = flag("squared_pred", squared)
        soft_label, batch = flag("soft_label", soft_label), flag("batch", batch)
        if squared:
            parts = (p * t, mx.square(p), mx.square(t))
        elif soft_label:
            parts = (mx.abs(p - t), mx.abs(p), mx.abs(t))
        else:
            parts = (p * t, p, t)
        common, ours, theirs = (self.area(part, batch) for part in parts)
        if soft_label and not squared:
            common = (ours + theirs - common) / 2
        return common, ours, theirs


def dice_loss(
    input: Tensor,
    target: Tensor,
    *,
    squared_pred: bool = False,
    jaccard: bool = False,
    reduction: str = "mean",
    smooth_nr: float = 1e-5,
    smooth_dr: float = 1e-5,
    batch: bool = False,
    weight: Tensor | None = None,
    soft_label: bool = False,
    scores: Normalized | None = None,
    **comparison: Any,
) -> Tensor:
    """1 - (2 * intersection + smooth_nr) / (sum of sizes + smooth_dr), for each class.

    Milletari et al., 2016; the options of `nn.DiceLoss`. `scores` is for a softmax that
    another loss needs too.
    """
    check_reduction(reduction)
    if scores is not None and not isinstance(scores, Normalized):
        raise TypeError(f"`scores` must be Normalized, got {type(scores).__name__}.")
    compared = Comparison(**comparison)(input, target, scores)
    common, ours, theirs = compared.areas(squared_pred, soft_label, batch)
    below = ours + theirs
    if flag("jaccard", jaccard):
        below = 2 * (below - common)
    loss = 1 - (2 * common + real("smooth_nr", smooth_nr)) / (
        below + real("smooth_dr", smooth_dr)
    )
    classes = loss.shape[-1]
    if weight is not None and classes != 1:
        loss = loss * of_each_class(weight, classes)
    return _finished(loss + compared.penalty, reduction, input)


def generalized_dice_loss(
    input: Tensor,
    target: Tensor,
    *,
    w_type: str = "square",
    reduction: str = "mean",
    smooth_nr: float = 1e-5,
    smooth_dr: float = 1e-5,
    batch: bool = False,
    soft_label: bool = False,
    **comparison: Any,
) -> Tensor:
    """Dice loss over all classes, each weighted by its rarity.

    Sudre et al., 2017; the options of `nn.GeneralizedDiceLoss`.
    """
    check_reduction(reduction)
    one_of("w_type", w_type, W_TYPES)
    compared = Comparison(**comparison)(input, target)
    common, ours, theirs = compared.areas(False, soft_label, batch)
    weight = _rarity(compared.area(compared.target, batch), w_type)
    above = 2 * (common * weight).sum(axis=-1, keepdims=True)
    below = ((ours + theirs) * weight).sum(axis=-1, keepdims=True)
    above = above + real("smooth_nr", smooth_nr)
    below = below + real("smooth_dr", smooth_dr)
    return _finished(1 - above / below + compared.penalty, reduction, input)


def _rarity(volume: mx.array, w_type: str) -> mx.array:
    """1 / volume, or its square; an absent class weighs as the heaviest present."""
    if w_type == "uniform":
        return mx.ones_like(volume)
    powers = volume if w_type == "simple" else mx.square(volume)
    absent = powers == 0
    weight = mx.where(absent, 0.0, 1 / mx.where(absent, 1.0, powers))
    return mx.where(absent, weight.max(axis=-1, keepdims=True), weight)


def tversky_loss(
    input: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    reduction: str = "mean",
    smooth_nr: float = 1e-5,
    smooth_dr: float = 1e-5,
    batch: bool = False,
    soft_label: bool = False,
    **comparison: Any,
) -> Tensor:
    """1 - TP / (TP + alpha * FP + beta * FN), with true (T) and false (F) predictions.

    Salehi et al., 2017; the options of `nn.TverskyLoss`.
    """
    check_reduction(reduction)
    compared = Comparison(**comparison)(input, target)
    common, ours, theirs = compared.areas(False, soft_label, batch)
    alpha, beta = real("alpha", alpha), real("beta", beta)
    wrong = alpha * (ours - common) + beta * (theirs - common)
    below = common + wrong + real("smooth_dr", smooth_dr)
    loss = 1 - (common + real("smooth_nr", smooth_nr)) / below + compared.penalty
    return reduced_by(loss, reduction).astype(input.dtype)


def of_each_class(weight: Tensor, classes: int) -> mx.array:
    """A weight for each class, or one for all: it broadcasts against (N, C)."""
    check_array("weight", weight)
    if weight.ndim > 1 or weight.size not in (1, classes):
        raise ValueError(
            f"`weight` must be a number or have {classes} entries, one for each class "
            f"that counts, got shape {weight.shape}."
        )
    return weight.astype(mx.float32)


def _finished(loss: mx.array, reduction: str, input: Tensor) -> mx.array:
    if reduction == "none":
        loss = loss.reshape(*loss.shape, *[1] * (input.ndim - 2))
    return reduced_by(loss, reduction).astype(input.dtype)


def as_integers(target: mx.array) -> mx.array:
    """Class indices; MONAI takes floating ones, as image readers give them."""
    is_integer = mx.issubdtype(target.dtype, mx.integer)
    return target if is_integer else target.astype(mx.int32)
