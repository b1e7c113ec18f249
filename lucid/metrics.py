"""Scores of segmentations, with MONAI's arguments and results.

Predictions and truths are (N, C, D, H, W), or (N, C, ...): one volume of 0 and 1 for
each class. A score is (N, C): one for each volume and class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucid import _scipy
from lucid._types import (
    Tensor,
    check_array,
    finite,
    flag,
    integer,
    one_of,
    positive,
    real,
    shown,
)
from lucid.ops.loss import total
import mlx.core as mx
import numpy as np

__all__ = ["dice", "hausdorff_distance"]

Spacing = float | Sequence[float] | Sequence[Sequence[float]]

DISTANCE_METRICS = ("euclidean", "chessboard", "taxicab")


def __dir__() -> list[str]:
    return __all__


def dice(
    y_pred: Tensor,
    y: Tensor,
    include_background: bool = True,
    ignore_empty: bool = True,
    num_classes: int | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """The Dice score: twice the intersection over the sum of both sizes (Dice, 1945).

    As `monai.metrics.compute_dice`.

    Args:
        y_pred: predictions of 0 and 1; any other number counts as 1.
        y: truths.
        include_background: whether to include class 0.
        ignore_empty: whether the score is NaN for a class that the truth lacks. If not,
            it is 1 if the prediction lacks it too, and else 0.
        num_classes: number of classes, if `y_pred` holds class indices.
        ignore_index: voxels of this class in `y` are ignored; if it is not a class,
            voxels without a class.

    Shape:
        - y_pred, y: (N, C, D, H, W), or class indices (N, 1, D, H, W)
        - output: (N, C), or without background (N, C - 1)

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: shapes that do not fit.

    Example:
        >>> import lucid
        >>> y_pred = lucid.tensor([0, 1, 1, 1]).reshape(1, 1, 4, 1, 1)
        >>> y = lucid.tensor([0, 0, 1, 1]).reshape(1, 1, 4, 1, 1)
        >>> lucid.metrics.dice(y_pred, y, num_classes=2)
        array([[0.666667, 0.8]], dtype=float32)
    """
    _check_volumes(y_pred, y)
    include_background = flag("include_background", include_background)
    classes = y_pred.shape[1]
    if num_classes is not None:
        classes = positive("num_classes", num_classes)
    for name, volumes in (("y_pred", y_pred), ("y", y)):
        if volumes.shape[1] not in (1, classes):
            raise ValueError(
                f"`{name}` must have 1 or {classes} channels, got {volumes.shape}."
            )
    first = 0 if include_background and classes > 1 else 1
    mask = _mask(y, ignore_index)
    p = (_of_classes(y_pred, first, classes) != 0) * mask
    t = _of_classes(y, first, classes) * mask
    common, ours, theirs = (total(v, keep=2) for v in (p * t, p, t))
    absent = mx.nan if flag("ignore_empty", ignore_empty) else (ours == 0) * 1.0
    score = 2 * common / mx.where(theirs > 0, theirs + ours, 1.0)
    return mx.where(theirs > 0, score, absent)


def _of_classes(volumes: mx.array, first: int, classes: int) -> mx.array:
    """A volume for each class from `first` on, in float32."""
    if volumes.shape[1] == 1:
        # A single class is class 1, the foreground.
        numbers = mx.arange(first, max(classes, 2))
        same = volumes == numbers.reshape(-1, *[1] * (volumes.ndim - 2))
        return same.astype(mx.float32)
    return volumes[:, first:].astype(mx.float32)


def _mask(y: mx.array, ignore_index: int | None) -> mx.array:
    """1 where a voxel counts: (N, 1, ...), or (1,) if all do."""
    if ignore_index is None:
        return mx.ones(1)
    index = integer("ignore_index", ignore_index)
    if y.shape[1] == 1:
        return (y != index).astype(mx.float32)
    if 0 <= index < y.shape[1]:
        return 1 - y[:, index : index + 1].astype(mx.float32)
    return (y.astype(mx.float32).sum(axis=1, keepdims=True) > 0).astype(mx.float32)


def hausdorff_distance(
    y_pred: Tensor,
    y: Tensor,
    include_background: bool = False,
    distance_metric: str = "euclidean",
    percentile: float | None = None,
    directed: bool = False,
    spacing: Spacing | None = None,
) -> Tensor:
    """The largest distance between the surfaces of prediction and truth.

    As `monai.metrics.compute_hausdorff_distance`. It is computed immediately, by SciPy.
    It is NaN for a class that both lack, and infinity for one that only one of them
    lacks (also with a percentile, where MONAI has NaN).

    Args:
        y_pred: predictions of 0 and 1.
        y: truths of 0 and 1.
        include_background: whether to include class 0.
        distance_metric: 'euclidean', or 'chessboard' or 'taxicab', both in voxels.
        percentile: a percentile of the distances instead of the largest; 95 is usual.
        directed: whether to measure only from prediction to truth, not back.
        spacing: size of a voxel, for 'euclidean': a number, one for each axis, or such
            a sequence for each volume.

    Shape:
        - y_pred, y: (N, C, D, H, W), or (N, C, ...)
        - output: (N, C), or without background (N, C - 1)

    Raises:
        ImportError: if SciPy is not installed.
        TypeError: an argument of the wrong type.
        ValueError: shapes that do not fit.

    Example:
        >>> import lucid
        >>> y_pred, y = lucid.zeros(1, 1, 5, 5, 5), lucid.zeros(1, 1, 5, 5, 5)
        >>> y_pred[0, 0, 1, 2, 2] = y[0, 0, 4, 2, 2] = 1
        >>> lucid.metrics.hausdorff_distance(y_pred, y, include_background=True)
        array([[3]], dtype=float32)
    """
    _check_volumes(y_pred, y)
    one_of("distance_metric", distance_metric, DISTANCE_METRICS)
    if y_pred.shape != y.shape:
        raise ValueError(
            f"`y_pred` and `y` must have one shape, got {y_pred.shape} and {y.shape}."
        )
    if percentile is not None:
        percentile = real("percentile", percentile)
    if percentile is not None and not 0 <= percentile <= 100:
        raise ValueError(f"`percentile` (={percentile}) must be in [0, 100].")
    first = 0 if flag("include_background", include_background) else 1
    if first and y.shape[1] > 1:
        y_pred, y = y_pred[:, 1:], y[:, 1:]
    spacings = _spacings(spacing, y.shape[0], y.ndim - 2)
    predicted, true = np.array(y_pred == 1), np.array(y == 1)
    distances = np.zeros(y.shape[:2], np.float32)
    for n, c in np.ndindex(*distances.shape):
        distances[n, c] = _apart(
            predicted[n, c],
            true[n, c],
            distance_metric,
            percentile,
            flag("directed", directed),
            spacings[n],
        )
    return mx.array(distances)


def _apart(
    a: np.ndarray,
    b: np.ndarray,
    metric: str,
    percentile: float | None,
    directed: bool,
    spacing: tuple[float, ...],
) -> float:
    if not a.any() or not b.any():
        return np.inf if a.any() or b.any() else np.nan
    ends = [(i.min(), i.max() + 1) for i in np.nonzero(a | b)]
    box = tuple(slice(start, stop) for start, stop in ends)
    surfaces = _surface(a[box]), _surface(b[box])
    ways = [surfaces] if directed else [surfaces, surfaces[::-1]]
    found = []
    for start, end in ways:
        distances = _distances(end, metric, spacing)[start]
        # MONAI takes a percentile of 0 for none.
        found.append(
            np.quantile(distances, percentile / 100) if percentile else distances.max()
        )
    return max(found)


def _surface(volume: np.ndarray) -> np.ndarray:
    """The voxels with a face outside."""
    return volume & ~_ndimage().binary_erosion(volume)


def _distances(
    surface: np.ndarray, metric: str, spacing: tuple[float, ...]
) -> np.ndarray:
    """How far each voxel is from the surface."""
    if metric == "euclidean":
        return _ndimage().distance_transform_edt(~surface, sampling=spacing)
    return _ndimage().distance_transform_cdt(~surface, metric=metric)


def _ndimage() -> Any:
    return _scipy.ndimage("lucid.metrics.hausdorff_distance")


def _spacings(spacing: Any, batch: int, axes: int) -> list[tuple[float, ...]]:
    """The size of a voxel of each volume."""
    if spacing is None:
        spacing = 1.0
    is_number = isinstance(spacing, np.ndarray) and spacing.ndim == 0
    is_number = is_number or not isinstance(spacing, Sequence | np.ndarray)
    if is_number or isinstance(spacing, str):
        spacing = [spacing] * axes
    if not any(isinstance(entry, list | tuple | np.ndarray) for entry in spacing):
        spacing = [spacing] * batch
    if len(spacing) != batch:
        raise ValueError(
            f"`spacing` (={shown(spacing)}) must be for {axes} axes or {batch} volumes."
        )
    return [_sizes(entry, axes) for entry in spacing]


def _sizes(spacing: Any, axes: int) -> tuple[float, ...]:
    sizes = tuple(finite("spacing", size) for size in spacing)
    sizes = sizes * axes if len(sizes) == 1 else sizes
    if len(sizes) != axes or min(sizes) <= 0:
        raise ValueError(
            f"`spacing` (={shown(spacing)}) must have {axes} positive sizes."
        )
    return sizes


def _check_volumes(y_pred: Any, y: Any) -> None:
    check_array("y_pred", y_pred)
    check_array("y", y)
    if y_pred.ndim < 3 or y.ndim != y_pred.ndim or 0 in y_pred.shape[1:]:
        raise ValueError(
            "`y_pred` and `y` must be (N, C, ...) of voxels, got shapes "
            f"{y_pred.shape} and {y.shape}."
        )
    same = (0, *range(2, y.ndim))
    if any(y.shape[i] != y_pred.shape[i] for i in same):
        raise ValueError(
            "`y_pred` and `y` must have as many volumes of one size, got shapes "
            f"{y_pred.shape} and {y.shape}."
        )
