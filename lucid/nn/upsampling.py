"""Upsampling layers."""

from __future__ import annotations

from lucid._types import Size3d, Tensor, triple
from lucid.nn import functional as F
from lucid.nn._module import Module
from lucid.nn.functional.upsampling import Scales, check_mode, check_scale_factor


class Upsample(Module):
    """Resample volumes to a size, or by a factor; see `F.interpolate`.

    Args:
        size: size of the output: an int, or (depth, height, width).
        scale_factor: the output's size over the input's, instead: one number or three.
        mode: 'nearest', 'nearest-exact', 'trilinear' or 'area'.
        align_corners: for 'trilinear', whether the centers of the outermost voxels
            coincide with the outputs'.
        recompute_scale_factor: whether to recompute the scale from the rounded sizes.

    Shape:
        - input: (N, C, D, H, W)
        - output: (N, C, OD, OH, OW)

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.Upsample(scale_factor=2)(lucid.ones(1, 2, 4, 5, 6)).shape
        (1, 2, 8, 10, 12)
    """

    def __init__(
        self,
        size: Size3d | None = None,
        scale_factor: float | Scales | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ):
        super().__init__()
        check_mode(mode, align_corners)
        if size is not None:
            triple("size", size, minimum=1)
        if scale_factor is not None:
            factors = check_scale_factor(scale_factor)
            several = isinstance(scale_factor, tuple | list)
            scale_factor = factors if several else factors[0]
        self.name = type(self).__name__
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        if self.scale_factor is not None:
            return f"scale_factor={self.scale_factor}, mode={self.mode!r}"
        return f"size={self.size}, mode={self.mode!r}"
