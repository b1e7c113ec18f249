"""Pooling layers: the functions of `lucid.nn.functional`."""

from __future__ import annotations

from typing import Any

from lucid._types import Size3d, Tensor, flag
from lucid.nn import functional as F
from lucid.nn._module import Module
from lucid.nn.functional.pooling import (
    AdaptiveSize3d,
    check_adaptive_size,
    check_divisor,
    check_pool,
)


class MaxPool3d(Module):
    """The largest voxel of each window; see `F.max_pool3d`.

    Args:
        kernel_size: an int, or (depth, height, width), of the window.
        stride: step between windows; None is `kernel_size`.
        padding: voxels of -inf added on both sides, at most half of `kernel_size`.
        dilation: step between a window's voxels.
        return_indices: whether to also return the index of each largest voxel.
        ceil_mode: whether the last window may extend beyond the padded volume.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: (N, C, OD, OH, OW) or (C, OD, OH, OW)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.MaxPool3d(3, stride=2, padding=1)(lucid.zeros(1, 4, 8, 8, 8)).shape
        (1, 4, 4, 4, 4)
    """

    def __init__(
        self,
        kernel_size: Size3d,
        stride: Size3d | None = None,
        padding: Size3d = 0,
        dilation: Size3d = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        super().__init__()
        check_pool(kernel_size, stride, padding, dilation)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = flag("return_indices", return_indices)
        self.ceil_mode = flag("ceil_mode", ceil_mode)

    def forward(self, input: Tensor) -> Any:
        """The largest voxels, and with `return_indices` their indices."""
        return F.max_pool3d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self) -> str:
        """The arguments, as PyTorch shows them."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class AvgPool3d(Module):
    """The mean of each window; see `F.avg_pool3d`.

    Args:
        kernel_size: an int, or (depth, height, width), of the window.
        stride: step between windows; None is `kernel_size`.
        padding: voxels of 0 added on both sides, at most half of `kernel_size`.
        ceil_mode: whether the last window may extend beyond the padded volume.
        count_include_pad: whether to count the padding's voxels.
        divisor_override: divides the sums, instead of the count of voxels.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: (N, C, OD, OH, OW) or (C, OD, OH, OW)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together; a divisor of 0.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.AvgPool3d(2)(lucid.zeros(1, 4, 8, 8, 8)).shape
        (1, 4, 4, 4, 4)
    """

    def __init__(
        self,
        kernel_size: Size3d,
        stride: Size3d | None = None,
        padding: Size3d = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        super().__init__()
        check_pool(kernel_size, stride, padding, 1)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = flag("ceil_mode", ceil_mode)
        self.count_include_pad = flag("count_include_pad", count_include_pad)
        self.divisor_override = check_divisor(divisor_override)

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return F.avg_pool3d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        """The arguments, as PyTorch shows them."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}"
        )


class AdaptiveMaxPool3d(Module):
    """The largest voxel of each of `output_size` windows; see `F.adaptive_max_pool3d`.

    Args:
        output_size: an int, or (depth, height, width), None for the input's.
        return_indices: whether to also return the index of each largest voxel.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: (N, C, *output_size) or (C, *output_size)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together.
    """

    def __init__(self, output_size: AdaptiveSize3d, return_indices: bool = False):
        super().__init__()
        check_adaptive_size(output_size)
        self.output_size = output_size
        self.return_indices = flag("return_indices", return_indices)

    def forward(self, input: Tensor) -> Any:
        """The largest voxels, and with `return_indices` their indices."""
        return F.adaptive_max_pool3d(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        """The size, as PyTorch shows it."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool3d(Module):
    """The mean of each of `output_size` windows; see `F.adaptive_avg_pool3d`.

    Args:
        output_size: an int, or (depth, height, width), None for the input's.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: (N, C, *output_size) or (C, *output_size)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.AdaptiveAvgPool3d(1)(lucid.ones(2, 8, 5, 6, 7)).shape
        (2, 8, 1, 1, 1)
    """

    def __init__(self, output_size: AdaptiveSize3d):
        super().__init__()
        check_adaptive_size(output_size)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return F.adaptive_avg_pool3d(input, self.output_size)

    def extra_repr(self) -> str:
        """The size, as PyTorch shows it."""
        return f"output_size={self.output_size}"
