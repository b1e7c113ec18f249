"""Losses of segmentation, under MONAI's names.

Of all: `input` is (N, C, D, H, W) with C classes on axis 1, `target` one volume for
each class, or with `to_onehot_y` one volume (N, 1, D, H, W) of class indices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lucid._types import Tensor, check_float_dtype, flag, one_of, real
from lucid.nn import functional as F
from lucid.nn.functional.segmentation import W_TYPES, Comparison
from lucid.nn.loss import Loss
from lucid.ops.softmax import Normalized
import mlx.core as mx

Activation = Callable[[Tensor], Tensor]
Weight = Sequence[float] | float | int | Tensor


class Comparing(Loss):
    """A loss whose options say how scores become what a target is compared with."""

    def __init__(
        self,
        reduction: str,
        *,
        include_background: bool,
        to_onehot_y: bool,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Activation | None = None,
        ignore_index: int | None = None,
    ):
        super().__init__(reduction)
        self.include_background = flag("include_background", include_background)
        self.to_onehot_y = flag("to_onehot_y", to_onehot_y)
        self.sigmoid = flag("sigmoid", sigmoid)
        self.softmax = flag("softmax", softmax)
        # Before a module refuses a tuple of arrays in words of its own.
        Comparison(other_act=other_act)
        self.other_act = other_act
        self.ignore_index = ignore_index
        Comparison(**self.comparison())

    def comparison(self) -> dict[str, Any]:
        """The options of `Comparison`."""
        return {
            "include_background": self.include_background,
            "to_onehot_y": self.to_onehot_y,
            "sigmoid": self.sigmoid,
            "softmax": self.softmax,
            "other_act": self.other_act,
            "ignore_index": self.ignore_index,
        }


class _Overlapping(Comparing):
    """A loss of areas: a quotient with something small added above and below."""

    def __init__(
        self,
        reduction: str,
        smooth_nr: float,
        smooth_dr: float,
        batch: bool,
        soft_label: bool,
        **comparison: Any,
    ):
        super().__init__(reduction, **comparison)
        self.smooth_nr = float(real("smooth_nr", smooth_nr))
        self.smooth_dr = float(real("smooth_dr", smooth_dr))
        self.batch = flag("batch", batch)
        self.soft_label = flag("soft_label", soft_label)

    def _overlap(self) -> dict[str, Any]:
        return {
            "reduction": self.reduction,
            "smooth_nr": self.smooth_nr,
            "smooth_dr": self.smooth_dr,
            "batch": self.batch,
            "soft_label": self.soft_label,
            **self.comparison(),
        }


class DiceLoss(_Overlapping):
    """1 - (2 * intersection + smooth_nr) / (sum of sizes + smooth_dr), for each class.

    Args:
        include_background: whether to include class 0.
        to_onehot_y: whether the target holds class indices.
        sigmoid: whether to apply a sigmoid to the input.
        softmax: whether to apply a softmax to the input.
        other_act: another function to apply to the input.
        squared_pred: whether to square the values in the denominator.
        jaccard: whether to divide by twice the union instead (Jaccard index).
        reduction: 'none', 'mean' or 'sum', over volumes and classes.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
        batch: whether to sum over the batch before dividing.
        weight: a factor for each included class, or one for all; a buffer.
        soft_label: whether targets are between 0 and 1 (Wang et al., 2023).
        ignore_index: voxels with this index are ignored.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> loss = nn.DiceLoss(to_onehot_y=True, softmax=True)
        >>> scores = lucid.zeros(1, 2, 4, 4, 4)
        >>> loss(scores, lucid.zeros(1, 1, 4, 4, 4, dtype="uint8"))
        array(0.666667, dtype=float32)
    """

    class_weight: Tensor | None

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
        weight: Weight | None = None,
        soft_label: bool = False,
        ignore_index: int | None = None,
    ):
        super().__init__(
            reduction,
            smooth_nr,
            smooth_dr,
            batch,
            soft_label,
            include_background=include_background,
            to_onehot_y=to_onehot_y,
            sigmoid=sigmoid,
            softmax=softmax,
            other_act=other_act,
            ignore_index=ignore_index,
        )
        self.squared_pred = flag("squared_pred", squared_pred)
        self.jaccard = flag("jaccard", jaccard)
        self.register_buffer("class_weight", class_weight(weight))

    def forward(
        self, input: Tensor, target: Tensor, scores: Normalized | None = None
    ) -> Tensor:
        return F.dice_loss(
            input,
            target,
            squared_pred=self.squared_pred,
            jaccard=self.jaccard,
            weight=self.class_weight,
            scores=scores,
            **self._overlap(),
        )


class GeneralizedDiceLoss(_Overlapping):
    """Dice loss over all classes, each weighted by its rarity.

    Sudre et al., 2017. An absent class has the largest weight of those present.

    Args:
        include_background: whether to include class 0.
        to_onehot_y: whether the target holds class indices.
        sigmoid: whether to apply a sigmoid to the input.
        softmax: whether to apply a softmax to the input.
        other_act: another function to apply to the input.
        w_type: a class has the weight 1 / volume^2 ('square'), 1 / volume ('simple')
            or 1 ('uniform').
        reduction: 'none', 'mean' or 'sum', over the volumes.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
        batch: whether to sum over the batch before dividing.
        soft_label: whether targets are between 0 and 1.
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Activation | None = None,
        w_type: str = "square",
        reduction: str = "mean",
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        batch: bool = False,
        soft_label: bool = False,
    ):
        super().__init__(
            reduction,
            smooth_nr,
            smooth_dr,
            batch,
            soft_label,
            include_background=include_background,
            to_onehot_y=to_onehot_y,
            sigmoid=sigmoid,
            softmax=softmax,
            other_act=other_act,
        )
        self.w_type = one_of("w_type", w_type, W_TYPES)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.generalized_dice_loss(
            input, target, w_type=self.w_type, **self._overlap()
        )


class TverskyLoss(_Overlapping):
    """1 - TP / (TP + alpha * FP + beta * FN), with true (T) and false (F) predictions.

    Salehi et al., 2017. At alpha = beta = 1/2 it is the Dice loss; a larger
    `beta` favors recall.

    Args:
        include_background: whether to include class 0.
        to_onehot_y: whether the target holds class indices.
        sigmoid: whether to apply a sigmoid to the input.
        softmax: whether to apply a softmax to the input.
        other_act: another function to apply to the input.
        alpha: weight of false positives.
        beta: weight of false negatives.
        reduction: 'none', 'mean' or 'sum', over volumes and classes.
        smooth_nr: added to the numerator.
        smooth_dr: added to the denominator.
        batch: whether to sum over the batch before dividing.
        soft_label: whether targets are between 0 and 1.
        ignore_index: voxels with this index are ignored.
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Activation | None = None,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str = "mean",
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        batch: bool = False,
        soft_label: bool = False,
        ignore_index: int | None = None,
    ):
        super().__init__(
            reduction,
            smooth_nr,
            smooth_dr,
            batch,
            soft_label,
            include_background=include_background,
            to_onehot_y=to_onehot_y,
            sigmoid=sigmoid,
            softmax=softmax,
            other_act=other_act,
            ignore_index=ignore_index,
        )
        self.alpha = real("alpha", alpha)
        self.beta = real("beta", beta)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.tversky_loss(
            input, target, alpha=self.alpha, beta=self.beta, **self._overlap()
        )


def class_weight(weight: Weight | None) -> Tensor | None:
    """Weights of classes as an array, refused where negative."""
    if weight is None:
        return None
    if not isinstance(weight, mx.array):
        is_list = isinstance(weight, list | tuple)
        values = [real("weight", entry) for entry in (weight if is_list else [weight])]
        weight = mx.array(values if is_list else values[0], mx.float32)
    check_float_dtype("weight", weight.dtype)
    if weight.ndim > 1 or (weight < 0).any():
        raise ValueError(
            "`weight` must be a number, or one for each class, and not negative."
        )
    return weight
