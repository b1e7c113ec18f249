"""Padding with PyTorch's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lucid import choice
from lucid._types import (
    Tensor,
    check_allocatable,
    check_array,
    integer,
    number,
    one_of,
    scalar,
    shown,
)
from lucid.geometry import check_pad
import mlx.core as mx

_MODES = {
    "constant": "zeros",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


def pad(
    input: Tensor,
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Tensor:
    """Pad the trailing axes of an array.

    The modes, for 1234 padded by two: constant 00123400, reflect 32123432,
    replicate 11123444, circular 34123412.

    Args:
        input: the array to pad.
        pad: (before, after) pairs, the *last* axis first, as in PyTorch:
            (left, right, top, bottom, front, back). Negative entries crop: before the
            other side is filled in modes 'constant' and 'circular', after it in
            'reflect' and 'replicate'.
        mode: 'constant', 'reflect', 'replicate' or 'circular'.
        value: the value for 'constant', which the input's dtype must hold; None is 0.
            The other modes take None or 0.

    Shape:
        - input: any; the last len(pad) / 2 axes grow by before + after
        - output: the dtype of the input

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an odd number of entries, more pairs than axes, an unknown mode, a
            `value` that the dtype cannot hold or the mode does not use, a crop that
            leaves nothing, or more padding than 'reflect' (size - 1) or 'circular'
            (size) can fill.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> F.pad(lucid.tensor([1, 2, 3, 4]), (2, 2), mode="reflect").tolist()
        [3, 2, 1, 2, 3, 4, 3, 2]
    """
    check_array("input", input)
    padding_mode = _MODES[one_of("mode", mode, tuple(_MODES))]
    fill = _fill(value, mode, input.dtype)
    sides = _sides(pad, input.ndim)
    if mode in ("constant", "circular"):
        return _grow(_crop(input, sides, mode), sides, padding_mode, fill)
    # What was cropped on one side is there to be mirrored or repeated on the other.
    return _crop(_grow(input, sides, padding_mode, fill), sides, mode)


def _fill(value: Any, mode: str, dtype: mx.Dtype) -> Tensor:
    fill = scalar("value", 0 if value is None else value, dtype)
    if mode != "constant" and value is not None and number("value", value) != 0:
        raise ValueError(
            f"`value` (={shown(value)}) needs mode 'constant', not {mode!r}."
        )
    return fill


def _sides(pad: Sequence[int], ndim: int) -> list[tuple[int, int]]:
    """PyTorch's flat list, last axis first, as (before, after) in axis order."""
    if not isinstance(pad, tuple | list):
        raise TypeError(f"`pad` (={shown(pad)}) must be a tuple or list of ints.")
    entries = [integer("pad", entry) for entry in pad]
    if len(entries) % 2 or len(entries) > 2 * ndim:
        raise ValueError(
            f"`pad` (={shown(tuple(pad))}) must hold pairs, at most one for each "
            f"of the input's {ndim} axes."
        )
    return list(zip(entries[::2], entries[1::2], strict=True))[::-1]


def _grow(x: Tensor, sides: list[tuple[int, int]], mode: str, fill: Tensor) -> Tensor:
    """Pad as much as the positive entries say."""
    grow = [(max(before, 0), max(after, 0)) for before, after in sides]
    first = x.ndim - len(sides)
    sizes = x.shape[first:]
    if mode != "zeros" and 0 in sizes and any(map(any, grow)):
        raise ValueError(f"`pad` with mode {mode!r} needs voxels, got shape {x.shape}.")
    check_pad("pad", grow, sizes, mode)
    grown = (n + sum(p) for n, p in zip(sizes, grow, strict=True))
    check_allocatable("`pad`", (*x.shape[:first], *grown), x.itemsize)
    return choice.pad(x, grow, mode, fill)


def _crop(x: Tensor, sides: list[tuple[int, int]], mode: str) -> Tensor:
    """Drop what the negative entries say; only 'constant' may leave nothing."""
    if all(before >= 0 and after >= 0 for before, after in sides):
        return x
    first = x.ndim - len(sides)
    window = [slice(None)] * first
    for n, (before, after) in zip(x.shape[first:], sides, strict=True):
        start, stop = max(-before, 0), n - max(-after, 0)
        if stop < start or (stop == start and mode != "constant"):
            raise ValueError(f"`pad` crops an axis of {n} to nothing.")
        window.append(slice(start, stop))
    return x[tuple(window)]
