"""Dropout layers: the functions of `lucid.nn.functional`, in training."""

from __future__ import annotations

from lucid._types import Tensor, flag
from lucid.nn import functional as F
from lucid.nn._module import Module
from lucid.nn.functional.dropout import check_probability


class _Dropout(Module):
    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        self.p = check_probability(p)
        self.inplace = flag("inplace", inplace)

    def extra_repr(self) -> str:
        """Both arguments, as PyTorch shows them."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, 0 with probability `p`, else x / (1 - p); see `F.dropout`.

    Args:
        p: probability of an entry to be dropped.
        inplace: accepted as in PyTorch; the result is always a new array.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.Dropout(0.3).eval()(lucid.ones(3))
        array([1, 1, 1], dtype=float32)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)


class Dropout3d(_Dropout):
    """In training, whole channels 0 with probability `p`; see `F.dropout3d`.

    Args:
        p: probability of a channel of a volume to be dropped.
        inplace: accepted as in PyTorch; the result is always a new array.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: as the input
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout3d(input, self.p, self.training)


class AlphaDropout(_Dropout):
    """Dropout that keeps mean 0 and variance 1; see `F.alpha_dropout`.

    Args:
        p: probability of an entry to be dropped.
        inplace: accepted as in PyTorch; the result is always a new array.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.alpha_dropout(input, self.p, self.training)
