"""Padding layers: no state, `F.pad` in each of its modes."""

from __future__ import annotations

from typing import Any

from lucid._types import Tensor, integer, number, shown
from lucid.nn import functional as F
from lucid.nn._module import Module
from lucid.nn.functional.conv import channels_of

Sides = tuple[int, int, int, int, int, int]
"""Voxels (left, right, top, bottom, front, back); negative ones crop."""


class ConstantPad3d(Module):
    """Pad volumes with one value.

    Args:
        padding: voxels on all six sides, or (left, right, top, bottom, front, back);
            negative ones crop.
        value: what to pad with.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W)
        - output: likewise, W + left + right, H + top + bottom, D + front + back

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.ConstantPad3d((1, 1, 0, 0, 0, 2), -1)(lucid.ones(1, 2, 4, 4, 4)).shape
        (1, 2, 6, 4, 6)
    """

    def __init__(self, padding: int | Sides, value: float):
        super().__init__()
        self.padding = _sides(padding)
        self.value = number("value", value)

    def forward(self, input: Tensor) -> Tensor:
        channels_of(input)
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ZeroPad3d(ConstantPad3d):
    """Pad volumes with zeros: 1234 -> 00123400.

    Args:
        padding: as in `ConstantPad3d`.
    """

    def __init__(self, padding: int | Sides):
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ModePad3d(Module):
    mode: str

    def __init__(self, padding: int | Sides):
        super().__init__()
        self.padding = _sides(padding)

    def forward(self, input: Tensor) -> Tensor:
        channels_of(input)
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ReflectionPad3d(_ModePad3d):
    """Pad volumes with their mirror image: 1234 -> 32123432.

    Args:
        padding: as in `ConstantPad3d`; less than the size of the axis.
    """

    mode = "reflect"


class ReplicationPad3d(_ModePad3d):
    """Pad volumes with their border voxels: 1234 -> 11123444.

    Args:
        padding: as in `ConstantPad3d`.
    """

    mode = "replicate"


class CircularPad3d(_ModePad3d):
    """Pad volumes periodically: 1234 -> 34123412.

    Args:
        padding: as in `ConstantPad3d`; at most the size of the axis.
    """

    mode = "circular"


def _sides(padding: Any) -> Sides:
    """One int, or six, as six."""
    if not isinstance(padding, tuple | list):
        padding = (padding,) * 6
    if len(padding) != 6:
        raise ValueError(f"`padding` (={shown(padding)}) must be an int or six ints.")
    left, right, top, bottom, front, back = (integer("padding", p) for p in padding)
    return left, right, top, bottom, front, back
