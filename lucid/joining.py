"""Joining tensors along an axis."""

from __future__ import annotations

from collections.abc import Sequence

from lucid._types import Tensor, axis_of, check_allocatable, check_array
from lucid.layout import concatenate
import mlx.core as mx


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Concatenate tensors along an axis; their other axes must agree.

    Example:
        >>> import lucid
        >>> lucid.cat([lucid.ones(1, 2, 4), lucid.ones(1, 3, 4)], dim=1).shape
        (1, 5, 4)
    """
    first, *others = _checked(tensors)
    if first.ndim == 0:
        raise ValueError("`tensors` must have an axis to be joined along.")
    axis = axis_of("dim", dim, first.ndim)
    rest = _without(first.shape, axis)
    for other in others:
        if other.ndim != first.ndim or _without(other.shape, axis) != rest:
            raise ValueError(
                f"`tensors` must agree in every axis but `dim` (={dim}), "
                f"got shapes {first.shape} and {other.shape}."
            )
    length = sum(tensor.shape[axis] for tensor in tensors)
    _check_result((*first.shape[:axis], length, *first.shape[axis + 1 :]), tensors)
    return concatenate([first, *others], axis)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Stack tensors of one shape along a new axis.

    Example:
        >>> import lucid
        >>> lucid.stack([lucid.ones(2, 4), lucid.ones(2, 4)], dim=1).shape
        (2, 2, 4)
    """
    first, *others = _checked(tensors)
    axis = axis_of("dim", dim, first.ndim + 1)
    for other in others:
        if other.shape != first.shape:
            raise ValueError(
                f"`tensors` must have one shape, got {first.shape} and {other.shape}."
            )
    _check_result((len(tensors), *first.shape), tensors)
    return mx.stack([first, *others], axis=axis)


def _checked(tensors: Sequence[Tensor]) -> list[Tensor]:
    if not isinstance(tensors, tuple | list) or not tensors:
        raise TypeError("`tensors` must be a non-empty tuple or list of tensors.")
    for tensor in tensors:
        check_array("tensors", tensor)
    return list(tensors)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _check_result(shape: tuple[int, ...], tensors: Sequence[Tensor]) -> None:
    itemsize = max(tensor.itemsize for tensor in tensors)
    check_allocatable("`tensors`", shape, itemsize)
