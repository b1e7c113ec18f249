"""Interpolation of volumes, with PyTorch's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucid import layer_choice
from lucid._types import (
    LONGEST,
    Size3d,
    Tensor,
    check_allocatable,
    check_array,
    check_float_dtype,
    finite,
    flag,
    one_of,
    shown,
    triple,
)
from lucid.geometry import Triple, check_input_shape
from lucid.layout import in_memory_order
from lucid.ops import upsampling
from lucid.ops.axis_maps import AxisMap
import mlx.core as mx

Scales = tuple[float, float, float]

MODES = ("nearest", "nearest-exact", "trilinear", "area")


def interpolate(
    input: Tensor,
    size: Size3d | None = None,
    scale_factor: float | Scales | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resample volumes to a size, or by a factor.

    Args:
        input: volumes, float32, float16 or bfloat16; the nearest modes copy voxels of
            any dtype, such as labels.
        size: size of the output: an int, or (depth, height, width).
        scale_factor: the output's size over the input's, instead (rounded down): one
            number or three.
        mode: 'nearest' takes the voxel below an output's corner, 'nearest-exact' the
            one below its center, 'trilinear' interpolates linearly between the voxels
            around it, and 'area' takes the mean of the voxels it covers.
        align_corners: for 'trilinear', whether the centers of the outermost voxels
            coincide with the outputs' (True), or the borders of the volumes do (False).
        recompute_scale_factor: whether to recompute the scale from the rounded sizes.
        antialias: must be False, as in PyTorch for volumes.

    Shape:
        - input: (N, C, D, H, W); N may be 0
        - output: (N, C, OD, OH, OW), the dtype of the input; with a scale factor
          OD = floor(D * scale_factor), and likewise OH, OW

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: both or neither of `size` and `scale_factor`, or an option that the
            mode does not have.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> x = lucid.ones(1, 2, 4, 4, 4)
        >>> F.interpolate(x, scale_factor=2, mode="trilinear").shape
        (1, 2, 8, 8, 8)
    """
    _check_volumes(input)
    check_mode(mode, align_corners, antialias)
    recompute = recompute_scale_factor is not None and flag(
        "recompute_scale_factor", recompute_scale_factor
    )
    before = input.shape[2:]
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"exactly one of `size` (={shown(size)}) and `scale_factor` "
            f"(={shown(scale_factor)}) must be given."
        )
    scales: Sequence[float | None] = (None, None, None)
    if scale_factor is None:
        if recompute:
            raise ValueError("`recompute_scale_factor` needs `scale_factor`.")
        after = triple("size", size, minimum=1)
    else:
        factors = check_scale_factor(scale_factor)
        after = _scaled(before, factors)
        if not recompute:
            scales = factors
    if mode in ("trilinear", "area") or mx.issubdtype(input.dtype, mx.inexact):
        check_float_dtype("input", input.dtype)
    check_allocatable("`size`", (*input.shape[:2], *after), max(input.itemsize, 4))
    maps = [
        _axis_map(mode, n, outputs, scale, bool(align_corners))
        for n, outputs, scale in zip(before, after, scales, strict=True)
    ]
    return in_memory_order(
        lambda x, channel_axis: layer_choice.resample(x, maps, channel_axis), input
    )


def _axis_map(
    mode: str, size: int, outputs: int, scale: float | None, align_corners: bool
) -> AxisMap:
    if mode == "area":
        return upsampling.area(size, outputs)
    if mode == "trilinear":
        return upsampling.linear(size, outputs, scale, align_corners)
    return upsampling.nearest(size, outputs, scale, exact=mode == "nearest-exact")


def check_mode(mode: Any, align_corners: Any, antialias: Any = False) -> None:
    """Refuse an unknown mode, and options that it does not have."""
    one_of("mode", mode, MODES)
    if align_corners is not None:
        flag("align_corners", align_corners)
        if mode != "trilinear":
            raise ValueError(
                f"`align_corners` (={align_corners}) needs mode 'trilinear', "
                f"not {mode!r}."
            )
    if flag("antialias", antialias):
        raise ValueError("`antialias` is for images; volumes have none, as in PyTorch.")


def check_scale_factor(scale_factor: Any) -> Scales:
    """A positive number, or three, as three floats."""
    factors = scale_factor
    if not isinstance(factors, tuple | list):
        factors = (factors,) * 3
    factors = [float(finite("scale_factor", factor)) for factor in factors]
    if len(factors) != 3 or min(factors) <= 0:
        raise ValueError(
            f"`scale_factor` (={shown(scale_factor)}) must be a positive number, "
            "or three."
        )
    depth, height, width = factors
    return depth, height, width


def _check_volumes(input: Any) -> None:
    check_array("input", input)
    if input.ndim != 5:
        raise ValueError(
            f"`input` must be 5-D (N, C, D, H, W), got shape {input.shape}."
        )
    check_input_shape(input.shape)


def _scaled(size: tuple[int, ...], factors: Scales) -> Triple:
    """In float64 and rounded down, as PyTorch."""
    depth, height, width = (
        int(min(n * factor, LONGEST + 1))
        for n, factor in zip(size, factors, strict=True)
    )
    if min(depth, height, width) < 1:
        raise ValueError(
            f"`scale_factor` (={factors}) leaves nothing of an input of {size}."
        )
    return depth, height, width
