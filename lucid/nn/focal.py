"""Focal loss, under MONAI's name."""

from __future__ import annotations

from collections.abc import Sequence

from lucid._types import Tensor, real
from lucid.nn import functional as F
from lucid.nn.functional.focal import numbers_of_alpha
from lucid.nn.segmentation import Comparing, Weight, class_weight


class FocalLoss(Comparing):
    """-(1 - q)^gamma log(q), q the probability of what the target says.

    Lin et al., 2017: a cross entropy in which what is already right counts little.

    Args:
        include_background: whether class 0 counts.
        to_onehot_y: whether the target holds class indices.
        gamma: how little; 0 is a cross entropy.
        alpha: a weight in [0, 1] of the positive voxels, the negative ones weighing
            1 - alpha (with a softmax, of the classes but the first); or one for each
            class that counts.
        weight: a factor for each class that counts, or one for all; a buffer.
        reduction: 'none', 'mean' or 'sum' (of the means of each class's volume).
        use_softmax: whether classes exclude each other; else each has a sigmoid.
        ignore_index: voxels with this index do not count.

    Shape:
        - input: scores (N, C, D, H, W), or (N, C, ...)
        - target: as the input, or with `to_onehot_y` class indices (N, 1, D, H, W)
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
