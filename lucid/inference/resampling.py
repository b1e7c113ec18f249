"""Resampling to another voxel size, as nnU-Net does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucid import _scipy
from lucid._types import (
    Tensor,
    check_allocatable,
    check_real,
    finite,
    flag,
    integer,
    shown,
    triple,
)
import mlx.core as mx
import numpy as np

ANISOTROPY = 3.0
"""Voxels longer than this times their width are resampled slice by slice."""


def resample_volume(
    volume: Tensor,
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    shape: Sequence[int] | None = None,
    order: int = 3,
    order_z: int = 0,
    force_separate_z: bool | None = None,
) -> Tensor:
    """Resample a volume to another voxel spacing, by splines.

    The same as nnU-Net's `resample_data_or_seg_to_shape`. If voxels are more than three
    times longer along one axis than along another, before or after, slices across that
    axis are resampled with `order`, and the axis itself with `order_z`. The result
    stays within the range of the input unless `order_z` is above 1.

    Args:
        volume: a volume, or one of several channels.
        spacing: the size of its voxels: (depth, height, width), in any unit.
        new_spacing: the size of the new voxels.
        shape: the result's depth, height and width; None for
            `round(size * spacing / new_spacing)`.
        order: order of the splines: 0 nearest, 1 linear, up to 5.
        order_z: order along the long axis, if slices are resampled separately.
        force_separate_z: whether to resample slices separately; None to decide by the
            spacings.

    Shape:
        - volume: (C, D, H, W) or (D, H, W)
        - output: (C, D', H', W') or (D', H', W'), float32

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: a spacing or size that is not positive, a volume of another rank, or
            a result larger than the machine's memory.
        ImportError: if SciPy is not installed.

    Example:
        >>> import lucid
        >>> from lucid.inference import resample_volume
        >>> resample_volume(lucid.rand(1, 10, 16, 16), (2, 1, 1), (1, 1, 1)).shape
        (1, 20, 16, 16)
    """
    check_real("volume", volume)
    if volume.ndim not in (3, 4) or 0 in volume.shape:
        raise ValueError(
            "`volume` must be (C, D, H, W) or (D, H, W) and hold voxels, got shape "
            f"{volume.shape}."
        )
    old, new = sizes("spacing", spacing), sizes("new_spacing", new_spacing)
    if shape is None:
        target = new_shape(volume.shape[-3:], old, new)
    else:
        target = triple("shape", shape, 1)
    check_allocatable("`new_spacing`", (*volume.shape[:-3], *target), 4)
    orders = _order("order", order), _order("order_z", order_z)
    if force_separate_z is not None:
        flag("force_separate_z", force_separate_z)
    axis = separate_axis(old, new, force_separate_z)
    array = np.array(volume.astype(mx.float32))  # NumPy has no bfloat16
    channels = array.reshape(-1, *volume.shape[-3:])
    resampled = [resampled_channel(x, target, *orders, axis) for x in channels]
    return mx.array(np.stack(resampled).reshape(*volume.shape[:-3], *target))


def new_shape(
    shape: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]
) -> tuple[int, ...]:
    """The sizes that keep a volume's extent at another spacing."""
    sides = zip(spacing, new_spacing, shape, strict=True)
    return tuple(max(1, round(old / new * size)) for old, new, size in sides)


def separate_axis(
    spacing: Sequence[float], new_spacing: Sequence[float], force: bool | None
) -> int | None:
    """The long axis whose slices are resampled apart, or None."""
    if force is False:
        return None
    for voxel in (spacing, new_spacing):
        if force or max(voxel) / min(voxel) > ANISOTROPY:
            longest = [axis for axis in range(3) if voxel[axis] == max(voxel)]
            return longest[0] if len(longest) == 1 else None
    return None


def resampled_channel(
    x: np.ndarray, shape: tuple[int, ...], order: int, order_z: int, axis: int | None
) -> np.ndarray:
    """A (D, H, W) array at another shape."""
    if x.shape == shape:
        return x
    if axis is None:
        return _zoomed(x, shape, order)
    slices = np.moveaxis(x, axis, 0)
    within = tuple(np.delete(shape, axis))
    apart = np.stack([_zoomed(plane, within, order) for plane in slices])
    apart = _along_first(apart, shape[axis], order_z)
    return np.moveaxis(apart, 0, axis)


def sizes(name: str, spacing: Any) -> tuple[float, ...]:
    """Three positive sizes of a voxel."""
    if not isinstance(spacing, Sequence | np.ndarray | mx.array) or len(spacing) != 3:
        raise ValueError(f"`{name}` (={shown(spacing)}) must have three sizes.")
    plain = np.asarray(spacing).tolist()
    found = tuple(finite(name, size) for size in plain)
    if min(found) <= 0:
        raise ValueError(f"`{name}` (={shown(spacing)}) must be positive.")
    return found


def _zoomed(x: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """Voxels as cells whose outer borders stay in place."""
    if x.shape == shape:
        return x
    factors = [new / old for old, new in zip(x.shape, shape, strict=True)]
    zoom = _scipy.ndimage("resampling").zoom
    x = x.astype(np.float64)
    y = zoom(x, factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(y, x.min(), x.max()).astype(np.float32)


def _along_first(x: np.ndarray, size: int, order: int) -> np.ndarray:
    if len(x) == size:
        return x
    places = len(x) / size * (np.arange(size) + 0.5) - 0.5
    coordinates = np.meshgrid(
        places, *(np.arange(n) for n in x.shape[1:]), indexing="ij"
    )
    map_coordinates = _scipy.ndimage("resampling").map_coordinates
    return map_coordinates(x, coordinates, order=order, mode="nearest")


def _order(name: str, order: Any) -> int:
    if not 0 <= integer(name, order) <= 5:
        raise ValueError(f"`{name}` (={shown(order)}) must be in [0, 5].")
    return int(order)
