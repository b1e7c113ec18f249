"""Pictures of volumes, by matplotlib, which is imported at the first call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lucid._types import Tensor, finite, integer, one_of, shown, text
import mlx.core as mx
import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = Tensor | np.ndarray
Arrays = Array | Sequence[Array] | Mapping[str, Array]

__all__ = ["slices"]

_MOST_COLUMNS = 16


def __dir__() -> list[str]:
    return __all__


def slices(
    volume: Arrays,
    mask: Arrays | None = None,
    spacing: Sequence[float] | None = None,
    *,
    at: Sequence[int] | None = None,
    cmap: str = "gray",
    vmin: float | None = None,
    vmax: float | None = None,
    origin: str = "lower",
) -> Figure:
    """Draw three orthogonal slices of a volume, or of several side by side.

    A notebook shows the figure if it is a cell's last line, or by `display(figure)`; in
    a script, call `figure.savefig(path)`. Needs matplotlib.

    Args:
        volume: an array, a list of arrays, or a dict of arrays by title. Each channel
            is a separate picture.
        mask: what to outline: an array of labels (0 is background), or one with a
            channel for each class, not 0 inside. One for each volume, or one for all.
        spacing: voxel size along (D, H, W), for true proportions (nibabel's
            `get_zooms()` reversed, if you reversed the axes).
        at: the slices' indices along (D, H, W). By default the middle of the mask, or
            of the volume where there is none.
        cmap: matplotlib's color map.
        vmin: the value of black. By default, 0.5% of a volume's voxels are below it.
        vmax: the value of white. By default, 0.5% of a volume's voxels are above it.
        origin: whether index 0 is at the "lower" or the "upper" end of a picture.

    Shape:
        - volume, mask: (D, H, W) or (C, D, H, W), all with the same D, H and W

    Returns:
        A `matplotlib.figure.Figure`, which is not registered with pyplot.

    Raises:
        TypeError: if there is anything but arrays of real numbers.
        ValueError: for shapes, indices or numbers that do not fit.
        ImportError: if matplotlib is not installed.

    Example:
        >>> import lucid
        >>> scan, brain = lucid.rand(24, 96, 128), lucid.zeros(24, 96, 128)
        >>> brain[6:18, 20:70, 30:100] = 1
        >>> figure = lucid.plot.slices({"scan": scan}, brain, spacing=(2.2, 2, 2))
        >>> [axes.get_title() for axes in figure.axes]
        ['d = 12', 'h = 44', 'w = 64']
    """
    columns = _columns(volume, mask)
    size: tuple[int, ...] = columns[0][1].shape
    lengths = _lengths(spacing)
    indices = _middle(columns) if at is None else _indices(at, size)
    limits = _limits(vmin, vmax)
    text("cmap", cmap)
    one_of("origin", origin, ("lower", "upper"))
    try:
        from lucid import _slices
    except ImportError:
        raise ImportError(
            "lucid.plot needs matplotlib: pip install matplotlib."
        ) from None
    if cmap not in _slices.colormaps:
        raise ValueError(f"`cmap` (={shown(cmap)}) is no color map of matplotlib's.")
    pictures = [
        _slices.Column(title, array, outlines, *_contrast(array, limits))
        for title, array, outlines in columns
    ]
    return _slices.draw(pictures, lengths, indices, cmap, origin)


Columns = list[tuple[str, np.ndarray, list[np.ndarray]]]


def _columns(volume: Any, mask: Any) -> Columns:
    """(title, volume, masks) of each column, the arrays (D, H, W) and of one shape."""
    given = _named("volume", volume)
    if mask is None:
        masks: dict[str, Any] = {}
    elif isinstance(mask, Mapping | list | tuple):
        masks = _named("mask", mask)
        if masks.keys() != given.keys():
            raise ValueError(
                f"`mask` has {list(masks)[:8]}, but `volume` has {list(given)[:8]}: "
                "as many are needed, or one array for all."
            )
    else:
        masks = dict.fromkeys(given, mask)
    titled = not isinstance(volume, list | tuple)
    columns: Columns = []
    for name, value in given.items():
        channels = _channels("volume", value)
        outlines = _channels("mask", masks[name]) if name in masks else []
        for number, channel in enumerate(channels):
            title = name if titled else ""
            if len(channels) > 1:
                title += f"{', ' if title else ''}channel {number}"
            columns.append((title, channel, outlines))
    _check_sizes(columns)
    return columns


def _named(argument: str, value: Any) -> dict[str, Any]:
    """The arrays by title; one alone has none."""
    if isinstance(value, Mapping):
        named = {str(title): array for title, array in value.items()}
    elif isinstance(value, list | tuple):
        named = {str(number): array for number, array in enumerate(value)}
    else:
        named = {"": value}
    if not named:
        raise ValueError(f"`{argument}` is empty: give at least one array.")
    return named


def _channels(argument: str, value: Any) -> list[np.ndarray]:
    """The volumes in an array, each (D, H, W) and of real numbers."""
    if isinstance(value, mx.array):
        array = np.array(
            value.astype(mx.float32) if value.dtype == mx.bfloat16 else value
        )
    elif hasattr(value, "__array__"):
        array = np.asarray(value)
    else:
        raise TypeError(
            f"`{argument}` (={shown(value)}) must be an array, or a list or dict of "
            "arrays."
        )
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{argument}` must hold real numbers, not {array.dtype}.")
    if array.ndim not in (3, 4) or array.size == 0:
        raise ValueError(
            f"`{argument}` must be (D, H, W) or (C, D, H, W) and not empty, got shape "
            f"{array.shape}{': take one of the batch' if array.ndim == 5 else ''}."
        )
    channels = [array] if array.ndim == 3 else list(array)
    if len(channels) > _MOST_COLUMNS:
        raise ValueError(
            f"`{argument}` has {len(channels)} channels, more than {_MOST_COLUMNS}: "
            "choose some, as array[:4]."
        )
    if argument == "mask" and array.dtype.kind == "f" and (array % 1 != 0).any():
        raise ValueError(
            "`mask` must hold whole numbers; of probabilities give mask > 0.5."
        )
    return channels


def _check_sizes(columns: Columns) -> None:
    size = columns[0][1].shape
    for _, array, outlines in columns:
        for argument, other in (
            ("volume", array),
            *(("mask", outline) for outline in outlines),
        ):
            if other.shape != size:
                raise ValueError(
                    f"`{argument}` has (D, H, W) = {other.shape}, but the (first) "
                    f"volume has {size}."
                )
    if len(columns) > _MOST_COLUMNS:
        raise ValueError(
            f"`volume` has {len(columns)} pictures, more than {_MOST_COLUMNS}."
        )


def _lengths(spacing: Any) -> tuple[float, ...]:
    if spacing is None:
        return (1.0, 1.0, 1.0)
    lengths = tuple(finite("spacing", length) for length in _three("spacing", spacing))
    if not all(1e-6 < length < 1e6 for length in lengths):
        raise ValueError(f"`spacing` (={shown(spacing)}) must be lengths above 0.")
    return lengths


def _indices(at: Any, size: tuple[int, ...]) -> tuple[int, ...]:
    indices = tuple(integer("at", index) for index in _three("at", at))
    if not all(0 <= i < n for i, n in zip(indices, size, strict=True)):
        raise ValueError(f"`at` (={shown(at)}) is out of range for (D, H, W) = {size}.")
    return indices


def _three(argument: str, value: Any) -> list[Any]:
    try:
        values = list(value)
    except TypeError:
        values = []
    if len(values) != 3 or isinstance(value, str):
        raise ValueError(
            f"`{argument}` (={shown(value)}) must be three numbers, (D, H, W)."
        )
    return values


def _middle(columns: Columns) -> tuple[int, ...]:
    """The middle of all that is outlined, or of the volume."""
    outlined = [outline != 0 for _, _, outlines in columns[:1] for outline in outlines]
    inside = np.logical_or.reduce(outlined) if outlined else np.zeros((0, 0, 0), bool)
    if inside.any():
        return tuple(int(np.round(places.mean())) for places in np.nonzero(inside))
    return tuple(n // 2 for n in columns[0][1].shape)


def _limits(vmin: Any, vmax: Any) -> tuple[float | None, float | None]:
    low = None if vmin is None else finite("vmin", vmin)
    high = None if vmax is None else finite("vmax", vmax)
    if low is not None and high is not None and not low < high:
        raise ValueError(f"`vmin` (={low}) must be less than `vmax` (={high}).")
    return low, high


def _contrast(
    array: np.ndarray, limits: tuple[float | None, float | None]
) -> tuple[float, float]:
    """What is black and what is white, for a volume of any numbers."""
    low, high = limits
    if low is None or high is None:
        known = array[np.isfinite(array)].astype(np.float64)
        own = np.percentile(known, (0.5, 99.5)) if known.size else (0.0, 1.0)
        low = float(own[0]) if low is None else low
        high = float(own[1]) if high is None else high
    return (low, high) if low < high else (low, low + 1)
