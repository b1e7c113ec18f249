"""Focal loss, under MONAI's name."""

from __future__ import annotations

from collections.abc import Sequence

from lucid._types import Tensor, real
from lucid.nn import functional as F
from lucid.nn.functional.focal import numbers_of_alpha
from lucid.nn.segmentation import Comparing, Weight, class_weight


class FocalLoss(Comparing):
    """-(1 - q)^gamma * log(q), where q is the predicted probability of the target.

    Lin et al., 2017: a cross entropy that weights down what is already right.

    Args:
        include_background: whether to include class 0.
        to_onehot_y: whether the target holds class indices.
        gamma: how strongly; 0 is the cross entropy.
        alpha: a weight in [0, 1] of positive voxels, 1 - alpha being that of negative
            ones (with a softmax, of all classes but the first and of the first); or
            one for each included class.
        weight: a factor for each included class, or one for all; a buffer.
        reduction: 'none', 'mean' or 'sum' (of the means of each class and volume).
        use_softmax: whether to use a softmax over classes; else a sigmoid for each.
        ignore_index: voxels with this index are ignored.

    Shape:
        - input: scores (N, C, D, H, W), or (N, C, ...)
        - target: as the input, or with `to_onehot_y` class indices (N, 1, D, H, W)

    Example:
        >>> import lucid, lucid.nn as nn
        >>> loss = nn.FocalLoss(to_onehot_y=True, use_softmax=True)
        >>> scores = lucid.zeros(1, 2, 4, 4, 4)
        >>> loss(scores, lucid.zeros(1, 1, 4, 4, 4, dtype="uint8"))
        array(0.0866434, dtype=float32)
    """

    class_weight: Tensor | None

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = None,
        weight: Weight | None = None,
        reduction: str = "mean",
        use_softmax: bool = False,
        ignore_index: int | None = None,
    ):
        super().__init__(
            reduction,
            include_background=include_background,
            to_onehot_y=to_onehot_y,
            ignore_index=ignore_index,
        )
        self.gamma = real("gamma", gamma)
        self.alpha = numbers_of_alpha(alpha)
        self.use_softmax = use_softmax
        self.register_buffer("class_weight", class_weight(weight))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.focal_loss(
            input,
            target,
            gamma=self.gamma,
            alpha=self.alpha,
            weight=self.class_weight,
            reduction=self.reduction,
            use_softmax=self.use_softmax,
            **self.comparison(),
        )
