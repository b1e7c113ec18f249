"""Sampling of volumes at the points of a grid, with PyTorch's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucid import _device
from lucid._types import (
    Tensor,
    check_allocatable,
    check_array,
    check_float_dtype,
    dtype_name,
    flag,
    one_of,
    positive,
    shown,
)
from lucid.geometry import check_input_shape
from lucid.ops import sampling
from lucid.ops.sampling import Corners
import mlx.core as mx

MODES = ("bilinear", "nearest")
PADDING_MODES = ("zeros", "border", "reflection")


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The values of volumes at the points of a grid.

    Gradients for input and grid are exact and deterministic.

    Args:
        input: volumes, float32, float16 or bfloat16.
        grid: points (x, y, z) of the same dtype: x along the width from -1 to 1, y
            along the height, z along the depth.
        mode: 'bilinear' (trilinear for volumes) or 'nearest'.
        padding_mode: what is outside: 'zeros', the 'border' voxels, or the volume's
            'reflection'.
        align_corners: whether -1 and 1 are the centers of the outermost voxels (True),
            or the volume's borders (False, None).

    Shape:
        - input: (N, C, D, H, W); N may be 0
        - grid: (N, OD, OH, OW, 3)
        - output: (N, C, OD, OH, OW)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: shapes that do not fit together, or an unknown mode.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> x = lucid.rand(1, 2, 4, 5, 6)
        >>> theta = lucid.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]])
        >>> F.grid_sample(x, F.affine_grid(theta, (1, 2, 3, 3, 3))).shape
        (1, 2, 3, 3, 3)
    """
    _check_arrays(input, grid)
    one_of("mode", mode, MODES)
    one_of("padding_mode", padding_mode, PADDING_MODES)
    aligned = align_corners is not None and flag("align_corners", align_corners)
    x = input.transpose(0, 2, 3, 4, 1).astype(mx.float32)  # (N, D, H, W, C)
    size = x.shape[1:4]
    places = _voxels(grid.astype(mx.float32)[..., ::-1], size, aligned)
    if padding_mode == "border":
        places = _at_border(places, size)
    elif padding_mode == "reflection":
        places = _at_border(_reflected(places, size, aligned), size)
    places = places.flatten(1, 3)  # (N, points, 3)
    corners = Corners(1 if mode == "nearest" else 2, x.shape)
    first, weight = _around(places, size, mode)
    cell = sampling.cells_of(first, corners)
    y = sampling.sample(weight, x, cell, corners, _device.is_plain())
    y = (
        y.reshape(*grid.shape[:-1], x.shape[-1])
        .transpose(0, 4, 1, 2, 3)
        .astype(input.dtype)
    )
    # A GPU goes on with channels last; MLX exports no `contiguous`.
    return y if _device.on_gpu() or _device.is_plain() else mx.contiguous(y)


def affine_grid(
    theta: Tensor, size: Sequence[int], align_corners: bool | None = None
) -> Tensor:
    """The grid of an affine transformation of volumes, for `grid_sample`.

    Args:
        theta: one matrix for each volume, which maps a point of the output,
            (x, y, z, 1), to a point of the input.
        size: of the output, (N, C, D, H, W).
        align_corners: whether -1 and 1 are the centers of the outermost voxels (True),
            or the volume's borders (False, None).

    Shape:
        - theta: (N, 3, 4)
        - output: (N, D, H, W, 3)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: sizes that do not fit together.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> flip = lucid.tensor([[[-1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]])
        >>> F.affine_grid(flip, (1, 1, 1, 1, 2))[..., 0].flatten().tolist()
        [0.5, -0.5]
    """
    check_array("theta", theta)
    check_float_dtype("theta", theta.dtype)
    if not isinstance(size, tuple | list):
        raise TypeError(f"`size` (={shown(size)}) must be (N, C, D, H, W).")
    if len(size) != 5:
        raise ValueError(f"`size` (={shown(size)}) must be (N, C, D, H, W).")
    n, _, depth, height, width = (positive("size", entry) for entry in size)
    if theta.shape != (n, 3, 4):
        raise ValueError(f"`theta` must have shape ({n}, 3, 4), got {theta.shape}.")
    check_allocatable("`size`", (n, depth, height, width, 4), 4)
    aligned = align_corners is not None and flag("align_corners", align_corners)
    axes = [
        _places(length, aligned).reshape([-1 if a == b else 1 for b in range(3)])
        for a, length in ((2, width), (1, height), (0, depth))
    ]
    ones = mx.ones((1, 1, 1))
    points = mx.stack([*mx.broadcast_arrays(*axes, ones)], axis=-1)  # (D, H, W, 4)
    wide = theta.astype(mx.float32).swapaxes(1, 2)  # (N, 4, 3)
    grid = points.reshape(1, -1, 4) @ wide
    return grid.reshape(n, depth, height, width, 3).astype(theta.dtype)


def _places(length: int, aligned: bool) -> Tensor:
    """The centers of voxels along an axis from -1 to 1."""
    if length == 1:
        return mx.zeros(1)
    places = mx.linspace(-1, 1, length)
    return places if aligned else places * ((length - 1) / length)


def _voxels(points: Tensor, size: Sequence[int], aligned: bool) -> Tensor:
    """Points from -1 to 1 as (d, h, w), in voxels from the first one's center."""
    length = mx.array(list(size), mx.float32)
    if aligned:
        return (points + 1) / 2 * (length - 1)
    return ((points + 1) * length - 1) / 2


def _at_border(places: Tensor, size: Sequence[int]) -> Tensor:
    """Within the volume. What lies on the border has no slope, as in PyTorch."""
    last = mx.array(list(size), mx.float32) - 1
    clipped = mx.where(places < last, mx.maximum(places, 0), last)
    inside = (places > 0) & (places < last)
    return mx.where(inside, places, mx.stop_gradient(clipped))


def _reflected(places: Tensor, size: Sequence[int], aligned: bool) -> Tensor:
    """Reflected about the outermost centers (aligned) or borders, into the volume."""
    length = mx.array(list(size), mx.float32)
    low = 0.0 if aligned else -0.5
    span = length - 1 if aligned else length
    away = mx.abs(places - low)
    flips = mx.stop_gradient(mx.floor(away / mx.maximum(span, 1)))
    rest = away - flips * span
    reflected = mx.where(flips % 2 == 0, rest, span - rest) + low
    return mx.where(span > 0, reflected, 0)


def _around(places: Tensor, size: Sequence[int], mode: str) -> tuple[Tensor, Tensor]:
    """The first corner of each place, and the weights of all: (corners, points)."""
    length = mx.array(list(size), mx.float32)
    if mode == "nearest":
        first = mx.stop_gradient(mx.round(places))
        inside = (first >= 0) & (first < length)
        first = mx.where(inside, first, length)
        return first, mx.ones((1, first.size // 3))
    inside = (places > -1) & (places < length)
    first = mx.stop_gradient(mx.where(inside, mx.floor(places), length))
    upper = mx.where(inside, places - first, 0).flatten(0, 1)  # (points, 3)
    d, h, w = ((1 - upper[:, axis], upper[:, axis]) for axis in range(3))
    weights = [of_d * of_h * of_w for of_d in d for of_h in h for of_w in w]
    return first, mx.stack(weights)


def _check_arrays(input: Any, grid: Any) -> None:
    check_array("input", input)
    check_array("grid", grid)
    check_float_dtype("input", input.dtype)
    if grid.dtype != input.dtype:
        raise TypeError(
            f"`grid` (={dtype_name(grid.dtype)}) must have the dtype of `input` "
            f"(={dtype_name(input.dtype)})."
        )
    if input.ndim != 5:
        raise ValueError(
            f"`input` must be 5-D (N, C, D, H, W), got shape {input.shape}."
        )
    check_input_shape(input.shape)
    if grid.ndim != 5 or grid.shape[0] != input.shape[0] or grid.shape[-1] != 3:
        raise ValueError(
            f"`grid` must have shape ({input.shape[0]}, OD, OH, OW, 3), "
            f"got {grid.shape}."
        )
