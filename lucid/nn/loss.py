"""Loss layers: the functions of `lucid.nn.functional`, with their options."""

from __future__ import annotations

from lucid._types import Tensor, integer, real
from lucid.nn import functional as F
from lucid.nn._module import Module
from lucid.nn.functional.loss import check_reduction


class Loss(Module):
    """What all losses have: how the losses of all entries become one number.

    Args:
        reduction: 'none', 'mean' or 'sum'.
    """

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        self.reduction = check_reduction(reduction)


class L1Loss(Loss):
    """|input - target|; see `F.l1_loss`.

    Args:
        reduction: 'none', 'mean' or 'sum'.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, self.reduction)


class MSELoss(Loss):
    """(input - target)^2; see `F.mse_loss`.

    Args:
        reduction: 'none', 'mean' or 'sum'.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.MSELoss()(lucid.ones(2, 3), lucid.zeros(2, 3))
        array(1, dtype=float32)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, self.reduction)


class SmoothL1Loss(Loss):
    """Squared near zero and linear beyond; see `F.smooth_l1_loss`.

    Args:
        reduction: 'none', 'mean' or 'sum'.
        beta: the error at which the loss becomes linear.
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = real("beta", beta)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(Loss):
    """`SmoothL1Loss(beta=delta)`, times delta; see `F.huber_loss`.

    Args:
        reduction: 'none', 'mean' or 'sum'.
        delta: the error at which the loss becomes linear.
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = real("delta", delta)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)


class BCELoss(Loss):
    """Binary cross entropy of probabilities; see `F.binary_cross_entropy`.

    Args:
        weight: factors that broadcast against the input; a buffer.
        reduction: 'none', 'mean' or 'sum'.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(Loss):
    """Binary cross entropy of scores (logits).

    See `F.binary_cross_entropy_with_logits`.

    Args:
        weight: factors that broadcast against the input; a buffer.
        reduction: 'none', 'mean' or 'sum'.
        pos_weight: factors of the positive class's term; a buffer.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.BCEWithLogitsLoss()(lucid.zeros(2, 3), lucid.ones(2, 3))
        array(0.693147, dtype=float32)
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, self.reduction, self.pos_weight
        )


class NLLLoss(Loss):
    """Cross entropy of log-probabilities; see `F.nll_loss`.

    Args:
        weight: a factor for each class; a buffer.
        ignore_index: voxels with this index are ignored.
        reduction: 'none', 'mean' or 'sum'.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = integer("ignore_index", ignore_index)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class CrossEntropyLoss(Loss):
    """Cross entropy of the scores (logits) of classes; see `F.cross_entropy`.

    Args:
        weight: a factor for each class; a buffer.
        ignore_index: voxels with this index are ignored.
        reduction: 'none', 'mean' or 'sum'.
        label_smoothing: the part of each target that is spread over all classes.

    Shape:
        - input: scores (N, C, D, H, W), or (N, C, ...), or (C,)
        - target: class indices (N, D, H, W), or (N, ...), or (); or probabilities in
          the shape of the input

    Example:
        >>> import lucid, lucid.nn as nn
        >>> scores = lucid.zeros(1, 2, 4, 4, 4)
        >>> labels = lucid.randint(2, (1, 4, 4, 4))
        >>> nn.CrossEntropyLoss()(scores, labels)
        array(0.693147, dtype=float32)
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = integer("ignore_index", ignore_index)
        self.label_smoothing = real("label_smoothing", label_smoothing)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            self.ignore_index,
            self.reduction,
            self.label_smoothing,
        )
