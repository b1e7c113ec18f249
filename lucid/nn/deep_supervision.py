"""A loss at several resolutions, under MONAI's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lucid._types import Tensor, check_array, integer, one_of, real
from lucid.nn import functional as F
from lucid.nn._module import Module
import mlx.core as mx

WEIGHT_MODES = ("same", "exp", "two")


class DeepSupervisionLoss(Module):
    """The weighted sum of a loss over a network's outputs at several resolutions.

    The target is resampled ('nearest-exact') to the size of each output.

    Args:
        loss: a function of an output and a target, such as `nn.DiceCELoss()`.
        weight_mode: the outputs' weights: 'same' 1 for all; 'exp' 1, 1/2, 1/4, 1/8 and
            then 1/16; 'two' 1 and then 1/2.
        weights: used instead of `weight_mode` if there are as many as outputs.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> loss = nn.DeepSupervisionLoss(nn.DiceCELoss(to_onehot_y=True, softmax=True))
        >>> outputs = [lucid.zeros(1, 2, 8, 8, 8), lucid.zeros(1, 2, 4, 4, 4)]
        >>> loss(outputs, lucid.zeros(1, 1, 8, 8, 8, dtype="uint8"))
        array(2.03972, dtype=float32)
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        weight_mode: str = "exp",
        weights: list[float] | None = None,
    ):
        super().__init__()
        if not callable(loss):
            raise TypeError(f"`loss` must be a loss, got {type(loss).__name__}.")
        self.loss = loss
        self.weight_mode = one_of("weight_mode", weight_mode, WEIGHT_MODES)
        self.weights = (
            None if weights is None else [real("weights", w) for w in weights]
        )
        self.interp_mode = "nearest-exact"

    def get_weights(self, levels: int = 1) -> list[float]:
        """The weights of this many outputs, the finest first."""
        levels = max(1, integer("levels", levels))
        if levels > 1000:
            raise ValueError(f"`levels` (={levels}) must be at most 1000.")
        if self.weights is not None and len(self.weights) >= levels:
            return self.weights[:levels]
        if self.weight_mode == "same":
            return [1.0] * levels
        if self.weight_mode == "exp":
            return [max(0.5**level, 0.0625) for level in range(levels)]
        return [1.0] + [0.5] * (levels - 1)

    def forward(self, input: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        if isinstance(input, mx.array):
            return self.loss(input, target)
        if not input:
            raise ValueError("`input` must have an output at least.")
        losses = [
            weight * self._resampled(output, target).astype(mx.float32)
            for weight, output in zip(self.get_weights(len(input)), input, strict=True)
        ]
        return sum(losses[1:], losses[0]).astype(input[0].dtype)

    def _resampled(self, output: Tensor, target: Tensor) -> Tensor:
        check_array("input", output)
        check_array("target", target)
        if output.shape[2:] != target.shape[2:]:
            size: Any = output.shape[2:]
            target = F.interpolate(target, size=size, mode=self.interp_mode)
        return self.loss(output, target)
