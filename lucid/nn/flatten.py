"""Layers that change no number: Identity and Flatten."""

from __future__ import annotations

import math
from typing import Any

from lucid._types import Tensor, axis_of, check_allocatable, check_array, integer
from lucid.nn._module import Module


class Identity(Module):
    """Returns its input. Any arguments to the constructor are ignored."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Flatten(Module):
    """Merge the axes from `start_dim` to `end_dim` into one.

    Args:
        start_dim: first axis to merge.
        end_dim: last axis to merge.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.Flatten()(lucid.ones(2, 3, 4, 4, 4)).shape
        (2, 192)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim = integer("start_dim", start_dim)
        self.end_dim = integer("end_dim", end_dim)

    def forward(self, input: Tensor) -> Tensor:
        check_array("input", input)
        start = axis_of("start_dim", self.start_dim, input.ndim)
        end = axis_of("end_dim", self.end_dim, input.ndim)
        if start > end:
            raise ValueError(
                f"`start_dim` (={self.start_dim}) must not come after `end_dim` "
                f"(={self.end_dim}) in an input of {input.ndim} axes."
            )
        merged = math.prod(input.shape[start : end + 1])
        check_allocatable("`input`", (merged,), input.itemsize)
        return input.flatten(start, end)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
