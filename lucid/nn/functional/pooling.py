"""Pooling with PyTorch's arguments; computed in `lucid.ops.pooling`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from lucid import layer_choice
from lucid._types import (
    Size3d,
    Tensor,
    check_allocatable,
    check_float_dtype,
    flag,
    integer,
    triple,
)
from lucid.geometry import Triple, check_input_shape
from lucid.layout import in_memory_order
from lucid.nn.functional.conv import channels_of
from lucid.ops import pooling
from lucid.ops.pooling import Adaptive, Windows

AdaptiveSize3d: TypeAlias = "int | tuple[int | None, int | None, int | None]"


def max_pool3d(
    input: Tensor,
    kernel_size: Size3d,
    stride: Size3d | None = None,
    padding: Size3d = 0,
    dilation: Size3d = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest voxel of each window.

    Of equal voxels, the first in memory gets the gradient, as in PyTorch.

    Args:
        input: float32, float16 or bfloat16.
        kernel_size: an int, or (depth, height, width), of the window.
        stride: step between windows; None is `kernel_size`.
        padding: voxels of -inf added on both sides, at most half of `kernel_size`.
        dilation: step between a window's voxels.
        ceil_mode: whether the last window may extend beyond the padded volume.
        return_indices: whether to also return the index of each largest voxel.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: (N, C, OD, OH, OW) or (C, OD, OH, OW), with
          OD = (D + 2 * padding - dilation * (kernel_size - 1) - 1) / stride + 1,
          rounded down, or up with `ceil_mode`, and likewise OH, OW
        - indices: as the output, int64, counted flat within D * H * W

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> x = lucid.arange(8).astype(lucid.float32).reshape(1, 2, 2, 2)
        >>> largest, where = F.max_pool3d(x, 2, return_indices=True)
        >>> largest.item(), where.item()
        (7.0, 7)
    """
    options = check_pool(kernel_size, stride, padding, dilation)
    windows = _sliding(input, *options, flag("ceil_mode", ceil_mode))
    return _largest(input, windows, return_indices)


def avg_pool3d(
    input: Tensor,
    kernel_size: Size3d,
    stride: Size3d | None = None,
    padding: Size3d = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window, in float32.

    Args:
        input: float32, float16 or bfloat16.
        kernel_size: an int, or (depth, height, width), of the window.
        stride: step between windows; None is `kernel_size`.
        padding: voxels of 0 added on both sides, at most half of `kernel_size`.
        ceil_mode: whether the last window may extend beyond the padded volume.
        count_include_pad: whether to count the padding's voxels.
        divisor_override: divides the sums, instead of the count of voxels.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: as of `max_pool3d`, with dilation 1

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together; a divisor of 0.
    """
    options = check_pool(kernel_size, stride, padding, 1)
    divisor = check_divisor(divisor_override)
    windows = _sliding(input, *options, flag("ceil_mode", ceil_mode))
    include_pad = flag("count_include_pad", count_include_pad)
    return _mean(input, windows, include_pad, divisor)


def adaptive_max_pool3d(
    input: Tensor, output_size: AdaptiveSize3d, return_indices: bool = False
) -> Any:
    """The largest voxel of each of `output_size` windows that cover the volume.

    Args:
        input: float32, float16 or bfloat16.
        output_size: an int, or (depth, height, width), None for the input's.
        return_indices: whether to also return the index of each largest voxel.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: (N, C, *output_size) or (C, *output_size); output i of an axis is of
          the voxels from floor(i * D / OD) to before ceil((i + 1) * D / OD)
        - indices: as of `max_pool3d`

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together.
    """
    return _largest(input, _adaptive(input, output_size), return_indices)


def adaptive_avg_pool3d(input: Tensor, output_size: AdaptiveSize3d) -> Tensor:
    """The mean, in float32, of each of `output_size` windows that cover the volume.

    Args:
        input: float32, float16 or bfloat16.
        output_size: an int, or (depth, height, width), None for the input's.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: as of `adaptive_max_pool3d`

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> F.adaptive_avg_pool3d(lucid.ones(2, 8, 5, 6, 7), (1, None, 2)).shape
        (2, 8, 1, 6, 2)
    """
    return _mean(input, _adaptive(input, output_size))


def check_pool(
    kernel_size: Size3d, stride: Size3d | None, padding: Size3d, dilation: Size3d
) -> tuple[Triple, Triple, Triple, Triple]:
    """The window, step, padding and dilation of each axis, or what is wrong."""
    kernel = triple("kernel_size", kernel_size, minimum=1)
    step = kernel if stride is None else triple("stride", stride, minimum=1)
    sides = triple("padding", padding, minimum=0)
    apart = triple("dilation", dilation, minimum=1)
    if any(side > size // 2 for side, size in zip(sides, kernel, strict=True)):
        raise ValueError(
            f"`padding` (={padding}) must be at most half of `kernel_size` "
            f"(={kernel_size})."
        )
    return kernel, step, sides, apart


def check_divisor(divisor_override: int | None) -> int | None:
    """Refuse a divisor of 0."""
    if divisor_override is None:
        return None
    if integer("divisor_override", divisor_override) == 0:
        raise ValueError("`divisor_override` (=0) must not be 0.")
    return divisor_override


def check_adaptive_size(output_size: AdaptiveSize3d) -> tuple[int | None, ...]:
    """Three sizes of at least 1, None for an axis that keeps its own."""
    kept = output_size if isinstance(output_size, tuple | list) else ()
    asked = [1 if size is None else size for size in kept]
    sizes = triple("output_size", asked if kept else output_size, minimum=1)
    return tuple(
        None if i < len(kept) and kept[i] is None else sizes[i] for i in range(3)
    )


def _sizes(input: Tensor) -> tuple[int, ...]:
    """Depth, height and width."""
    channels_of(input)
    check_float_dtype("input", input.dtype)
    check_input_shape(input.shape if input.ndim == 5 else (1, *input.shape))
    return input.shape[-3:]


def _sliding(
    input: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> list[Windows]:
    sizes = _sizes(input)
    found: list[Windows] = [
        pooling.sliding(*of_axis, ceil_mode)
        for of_axis in zip(sizes, kernel, stride, padding, dilation, strict=True)
    ]
    if min(windows.outputs for windows in found) < 1:
        raise ValueError(
            f"`kernel_size` (={tuple(kernel)}) must be no larger than the padded "
            f"`input`, of size {sizes}."
        )
    return found


def _adaptive(input: Tensor, output_size: AdaptiveSize3d) -> list[Windows]:
    asked = check_adaptive_size(output_size)
    lengths = _sizes(input)
    sizes = [size or length for length, size in zip(lengths, asked, strict=True)]
    check_allocatable("`output_size`", (*input.shape[:-3], *sizes), itemsize=4)
    return [Adaptive(*pair) for pair in zip(lengths, sizes, strict=True)]


def _largest(input: Tensor, windows: list[Windows], return_indices: bool) -> Any:
    _check_slices(windows, flag("return_indices", return_indices))
    largest = _pooled(lambda x, axis: layer_choice.max_pool(x, windows, axis), input)
    if not return_indices:
        return largest
    return largest, _pooled(
        lambda x, axis: layer_choice.max_indices(x, windows, axis), input
    )


def _mean(
    input: Tensor,
    windows: list[Windows],
    include_pad: bool = True,
    divisor: int | None = None,
) -> Tensor:
    _check_slices(windows, with_places=False)

    def mean(x: Tensor, channel_axis: int) -> Tensor:
        return layer_choice.mean_pool(x, windows, channel_axis, include_pad, divisor)

    return _pooled(mean, input)


def _check_slices(windows: list[Windows], with_places: bool) -> None:
    needed = max(along.slices(with_places) for along in windows)
    if needed > pooling.MOST_SLICES:
        raise ValueError(
            f"`input`'s windows take {needed} slices of an axis; more than "
            f"{pooling.MOST_SLICES} are not implemented."
        )


def _pooled(function: Callable[[Tensor, int], Tensor], input: Tensor) -> Tensor:
    if input.ndim == 4:
        return in_memory_order(function, input[None])[0]
    return in_memory_order(function, input)
