"""The drawing behind `lucid.plot.slices`; importing it imports matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
import io
import textwrap
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
import numpy as np

__all__ = ["Column", "colormaps", "draw"]

_PLANES = ("d", "h", "w")  # the axis that each slice stands on
_WIDEST, _COLUMN, _HIGHEST = 10.0, 2.4, 8.0  # inches: one volume, a column, all
_LEAST = 0.7  # inches, of a picture: a label has room
_FONT = 10  # points


@dataclass(frozen=True)
class Column:
    """A volume, (D, H, W), what is outlined in it, and what is black and white."""

    title: str
    volume: np.ndarray
    outlines: list[np.ndarray]
    low: float
    high: float


class SlicesFigure(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()


def draw(
    columns: list[Column],
    spacing: tuple[float, ...],
    at: tuple[int, ...],
    cmap: str,
    origin: str,
) -> Figure:
    """One volume's slices in a row; of several, a column each."""
    d, h, w = (
        n * length for n, length in zip(columns[0].volume.shape, spacing, strict=True)
    )
    widths, heights = [w, w, h], [h, d, d]
    options: dict[str, Any] = {"cmap": cmap, "origin": origin}
    if len(columns) == 1:
        figure, axes = _row(widths, heights)
        for axis, ax in enumerate(axes):
            _picture(ax, columns[0], axis, at[axis], spacing, options)
            ax.set_title(f"{_PLANES[axis]} = {at[axis]}", fontsize=_FONT)
        if columns[0].title:
            wrapped = _wrapped(columns[0].title, figure.get_figwidth())
            figure.suptitle(wrapped, fontsize=_FONT + 1, parse_math=False)
        return figure
    figure, grid = _grid(len(columns), max(widths), heights)
    for axis, row in enumerate(grid):
        for ax, column in zip(row, columns, strict=True):
            _picture(ax, column, axis, at[axis], spacing, options)
            _widen(ax, max(widths) / widths[axis])  # one scale for all
        row[0].set_ylabel(f"{_PLANES[axis]} = {at[axis]}", fontsize=_FONT)
    for ax, column in zip(grid[0], columns, strict=True):
        title = _wrapped(column.title, _COLUMN)
        ax.set_title(title, fontsize=_FONT, parse_math=False)
    return figure


def _row(widths: list[float], heights: list[float]) -> tuple[Figure, Any]:
    scale = min(_WIDEST / sum(widths), _HIGHEST / 2 / max(heights))
    inches = [max(_LEAST, scale * width) for width in widths]
    high = max(_LEAST, scale * max(heights))
    figure = SlicesFigure(figsize=(sum(inches) + 0.2, high + 0.5), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=inches)
    return figure, axes


def _grid(count: int, width: float, heights: list[float]) -> tuple[Figure, Any]:
    scale = min(_COLUMN / width, _HIGHEST / sum(heights))
    inches = [max(_LEAST, scale * height) for height in heights]
    size = (_COLUMN * count + 0.4, sum(inches) + 0.7)
    figure = SlicesFigure(figsize=size, layout="constrained")
    axes = figure.subplots(3, count, height_ratios=inches)
    return figure, axes


def _picture(
    ax: Any,
    column: Column,
    axis: int,
    index: int,
    spacing: tuple[float, ...],
    options: dict[str, Any],
) -> None:
    """One slice at true aspect, with the outlines of what is in it."""
    up, across = (length for i, length in enumerate(spacing) if i != axis)
    with np.errstate(over="ignore"):
        picture = np.take(column.volume, index, axis=axis).astype(np.float32)
    limits = {"vmin": column.low, "vmax": column.high}
    ax.imshow(picture, aspect=up / across, **limits, **options)
    ax.set(xticks=[], yticks=[], frame_on=False, autoscale_on=False)
    several = len(column.outlines) > 1
    for number, outline in enumerate(column.outlines):
        labels = np.pad(np.take(outline, index, axis=axis), 1)  # outlines close
        for label in np.unique(labels[labels != 0]):
            color = number if several else int(label) - 1
            rows, columns = (np.arange(n) - 1 for n in labels.shape)
            ax.contour(
                *(columns, rows, (labels == label).astype(np.float32)),
                levels=[0.5],
                colors=f"C{(color + 3) % 10}",  # red is the first
                linewidths=1.2,
            )


def _widen(ax: Any, factor: float) -> None:
    """Give a picture an empty margin at both sides."""
    left, right = ax.get_xlim()
    margin = (factor - 1) * (right - left) / 2
    ax.set_xlim(left - margin, right + margin)


def _wrapped(title: str, inches: float) -> str:
    """A title in lines that its picture is wide enough for, three at most."""
    characters = int(inches * 72 / (0.65 * _FONT))
    return "\n".join(textwrap.wrap(title, characters, max_lines=3, placeholder=" ..."))
