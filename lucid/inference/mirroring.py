"""Test-time mirroring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import itertools
from typing import Any

from lucid._types import Tensor, integer, shown
import mlx.core as mx


def with_mirroring(
    predictor: Callable[..., Tensor], mirror_axes: Sequence[int] = (0, 1, 2)
) -> Callable[..., Tensor]:
    """A predictor that averages over mirrored inputs, as nnU-Net does when it tests.

    Args:
        predictor: a model, or a function of an (N, C, D, H, W) array and more that
            returns an (N, K, D, H, W) array.
        mirror_axes: which of depth (0), height (1) and width (2) to mirror; the
            predictor is called for every combination: 8 times for all three.

    Returns:
        A function of the same arguments.

    Raises:
        ValueError: an axis other than 0, 1, 2, or one named twice.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> from lucid.inference import with_mirroring
        >>> predict = with_mirroring(nn.Conv3d(1, 2, 3, padding=1), mirror_axes=(2,))
        >>> predict(lucid.zeros(1, 1, 4, 4, 4)).shape
        (1, 2, 4, 4, 4)
    """
    if not callable(predictor):
        raise TypeError(f"`predictor` (={shown(predictor)}) must be a function.")
    if not isinstance(mirror_axes, Sequence):
        raise TypeError(f"`mirror_axes` (={shown(mirror_axes)}) must be a tuple.")
    axes = [integer("mirror_axes", axis) for axis in mirror_axes]
    if len(set(axes)) < len(axes) or not set(axes) <= {0, 1, 2}:
        raise ValueError(
            f"`mirror_axes` (={shown(mirror_axes)}) must be among 0, 1 and 2."
        )
    combinations = [
        chosen
        for count in range(len(axes) + 1)
        for chosen in itertools.combinations(axes, count)
    ]

    def predict(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        total = None
        for chosen in combinations:
            y = _flipped(predictor(_flipped(x, chosen), *args, **kwargs), chosen)
            total = y if total is None else total + y
            mx.eval(total)  # one prediction's activations at a time
        assert total is not None
        return total / len(combinations)

    return predict


def _flipped(x: mx.array, axes: Sequence[int]) -> mx.array:
    steps = (slice(None, None, -1 if axis in axes else None) for axis in range(3))
    return x[(..., *steps)] if axes else x
