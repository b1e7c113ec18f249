"""Sums of losses, under MONAI's names."""

from __future__ import annotations

from lucid._types import Tensor, check_array, one_of, real, shown
from lucid.nn._module import Module
from lucid.nn.focal import FocalLoss
from lucid.nn.functional.cross_entropy import cross_entropy_of
from lucid.nn.functional.loss import check_computable
from lucid.nn.functional.segmentation import as_integers
from lucid.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss
from lucid.nn.segmentation import Activation, DiceLoss, Weight
from lucid.ops.softmax import Normalized
import mlx.core as mx


class DiceCELoss(Module):
    """lambda_dice * `DiceLoss` + lambda_ce * a cross entropy of the scores.

    The cross entropy is `CrossEntropyLoss`, or for a single class `BCEWithLogitsLoss`.
    With `softmax` both losses and their gradients share one exponential.

    Args:
        include_background: whether to include class 0 in the Dice loss.
        to_onehot_y: whether the target holds class indices.
        sigmoid: whether to apply a sigmoid for the Dice loss.
        softmax: whether to apply a softmax for the Dice loss.
        other_act: another function to apply to the input for the Dice loss.
        squared_pred: whether to square the values in the denominator.
        jaccard: whether to divide by twice the union instead.
        reduction: 'mean' or 'sum'.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
        batch: whether to sum over the batch before dividing.
        weight: a factor for each class, with class 0, in both losses.
        lambda_dice: weight of the Dice loss.
        lambda_ce: weight of the cross entropy.
        label_smoothing: label smoothing of the cross entropy.

    Shape:
        - input: scores (N, C, D, H, W), or (N, C, ...)
        - target: as the input, or with `to_onehot_y` class indices (N, 1, D, H, W)

    Example:
        >>> import lucid, lucid.nn as nn
        >>> loss = nn.DiceCELoss(to_onehot_y=True, softmax=True)
        >>> scores = lucid.zeros(1, 2, 4, 4, 4)
        >>> loss(scores, lucid.zeros(1, 1, 4, 4, 4, dtype="uint8"))
        array(1.35981, dtype=float32)
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Activation | None = None,
        squared_pred: bool = False,
        jaccard: bool = False,
        reduction: str = "mean",
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        batch: bool = False,
        weight: Tensor | None = None,
        lambda_dice: float = 1.0,
        lambda_ce: float = 1.0,
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        one_of("reduction", reduction, ("mean", "sum"))
        if weight is not None:
            check_array("weight", weight)
        self.dice = DiceLoss(
            include_background=include_background,
            to_onehot_y=to_onehot_y,
            sigmoid=sigmoid,
            softmax=softmax,
            other_act=other_act,
            squared_pred=squared_pred,
            jaccard=jaccard,
            reduction=reduction,
            smooth_nr=smooth_nr,
            smooth_dr=smooth_dr,
            batch=batch,
            weight=weight if weight is None or include_background else weight[1:],
        )
        self.cross_entropy = CrossEntropyLoss(
            weight=weight, reduction=reduction, label_smoothing=label_smoothing
        )
        self.binary_cross_entropy = BCEWithLogitsLoss(
            pos_weight=weight, reduction=reduction
        )
        self.lambda_dice = _factor("lambda_dice", lambda_dice)
        self.lambda_ce = _factor("lambda_ce", lambda_ce)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        _check_channels(input, target)
        if input.shape[1] == 1:
            dice = self.dice(input, target)
            entropy = self.binary_cross_entropy(input, target)
        else:
            scores = Normalized(input.astype(mx.float32), 1)
            dice = self.dice(input, target, scores)
            entropy = self._entropy(scores, target).astype(input.dtype)
        return self.lambda_dice * dice + self.lambda_ce * entropy

    def _entropy(self, scores: Normalized, target: Tensor) -> Tensor:
        if target.shape[1] == 1:
            target = as_integers(target)[:, 0]
        else:
            target = target.astype(mx.float32)
        ce = self.cross_entropy
        return cross_entropy_of(
            scores,
            target,
            ce.weight,
            ce.ignore_index,
            ce.reduction,
            ce.label_smoothing,
        )


class DiceFocalLoss(Module):
    """lambda_dice * `DiceLoss` + lambda_focal * `FocalLoss` (with sigmoids).

    Args:
        include_background: whether to include class 0.
        to_onehot_y: whether the target holds class indices.
        sigmoid: whether to apply a sigmoid for the Dice loss.
        softmax: whether to apply a softmax for the Dice loss.
        other_act: another function to apply to the input for the Dice loss.
        squared_pred: whether to square the values in the denominator.
        jaccard: whether to divide by twice the union instead.
        reduction: 'none', 'mean' or 'sum'.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
        batch: whether to sum over the batch before dividing.
        gamma: as in `FocalLoss`.
        weight: a factor for each included class, or one for all, in both losses.
        lambda_dice: weight of the Dice loss.
        lambda_focal: weight of the focal loss.
        alpha: as in `FocalLoss`.

    Shape:
        - input: scores (N, C, D, H, W), or (N, C, ...)
        - target: as the input, or with `to_onehot_y` class indices (N, 1, D, H, W)

    Example:
        >>> import lucid, lucid.nn as nn
        >>> loss = nn.DiceFocalLoss(to_onehot_y=True, softmax=True)
        >>> scores = lucid.zeros(1, 2, 4, 4, 4)
        >>> loss(scores, lucid.zeros(1, 1, 4, 4, 4, dtype="uint8"))
        array(0.839953, dtype=float32)
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Activation | None = None,
        squared_pred: bool = False,
        jaccard: bool = False,
        reduction: str = "mean",
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        batch: bool = False,
        gamma: float = 2.0,
        weight: Weight | None = None,
        lambda_dice: float = 1.0,
        lambda_focal: float = 1.0,
        alpha: float | None = None,
    ):
        super().__init__()
        self.dice = DiceLoss(
            include_background=include_background,
            to_onehot_y=to_onehot_y,
            sigmoid=sigmoid,
            softmax=softmax,
            other_act=other_act,
            squared_pred=squared_pred,
            jaccard=jaccard,
            reduction=reduction,
            smooth_nr=smooth_nr,
            smooth_dr=smooth_dr,
            batch=batch,
            weight=weight,
        )
        self.focal = FocalLoss(
            include_background=include_background,
            to_onehot_y=to_onehot_y,
            gamma=gamma,
            weight=weight,
            alpha=alpha,
            reduction=reduction,
        )
        self.lambda_dice = _factor("lambda_dice", lambda_dice)
        self.lambda_focal = _factor("lambda_focal", lambda_focal)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        _check_channels(input, target)
        dice, focal = self.dice(input, target), self.focal(input, target)
        return self.lambda_dice * dice + self.lambda_focal * focal


def _check_channels(input: Tensor, target: Tensor) -> None:
    check_computable("input", input)
    check_array("target", target)
    if input.ndim < 2 or target.ndim != input.ndim:
        raise ValueError(
            "`input` and `target` must be (N, C, ...), of as many axes, got shapes "
            f"{input.shape} and {target.shape}."
        )
    if target.shape[1] not in (1, input.shape[1]):
        raise ValueError(
            f"`target` must have 1 channel, of class indices, or {input.shape[1]}, got "
            f"shape {target.shape}."
        )


def _factor(name: str, value: float) -> float:
    if not real(name, value) >= 0:
        raise ValueError(f"`{name}` (={shown(value)}) must not be negative.")
    return value
