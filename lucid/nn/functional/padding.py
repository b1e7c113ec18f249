"""Padding with PyTorch's arguments."""

from __future__ import annotations

from collections.abc import Sequence
import numbers

from lucid import dispatch
from lucid._types import Tensor, check_allocatable, integer
from lucid.geometry import check_pad
from lucid.nn.functional.conv import check_array

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
            (left, right, top, bottom, front, back). Negative entries crop.
        mode: 'constant', 'reflect', 'replicate' or 'circular'.
        value: what 'constant' pads with; None is 0.

    Shape:
        - input: any; the last len(pad) / 2 axes grow by before + after
        - output: the dtype of the input

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an odd number of entries, more pairs than axes, an unknown mode, a
            `value` without 'constant', a crop that leaves nothing, or more padding
            than 'reflect' (size - 1) or 'circular' (size) can fill.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> F.pad(lucid.tensor([1, 2, 3, 4]), (2, 2), mode="reflect").tolist()
        [3, 2, 1, 2, 3, 4, 3, 2]
    """
    check_array("input", input)
    if not isinstance(mode, str):
        raise TypeError(f"`mode` (={mode!r}) must be a string.")
    if mode not in _MODES:
        raise ValueError(f"`mode` (={mode!r}) must be one of {tuple(_MODES)}.")
    if value is not None and mode != "constant":
        raise ValueError(f"`value` (={value!r}) needs mode 'constant', not {mode!r}.")
    fill = _number(value)
    sides = _sides(pad, input.ndim)
    x = _crop(input, sides)
    grow = [(max(before, 0), max(after, 0)) for before, after in sides]
    sizes = x.shape[x.ndim - len(grow) :]
    if mode != "constant" and 0 in sizes and any(map(any, grow)):
        raise ValueError(f"`pad` with mode {mode!r} needs voxels, got shape {x.shape}.")
    check_pad("pad", grow, sizes, _MODES[mode])
    grown = tuple(n + sum(p) for n, p in zip(sizes, grow, strict=True))
    shape = (*x.shape[: x.ndim - len(grow)], *grown)
    check_allocatable(f"`pad` (={tuple(pad)})", shape, x.itemsize)
    return dispatch.pad(x, grow, _MODES[mode], fill)


def _number(value: float | None) -> float:
    if value is None:
        return 0.0
    if not isinstance(value, numbers.Real):
        raise TypeError(f"`value` (={value!r}) must be a number.")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("`value` is too large for a float.") from None


def _sides(pad: Sequence[int], ndim: int) -> list[tuple[int, int]]:
    """PyTorch's flat list, last axis first, as (before, after) in axis order."""
    if not isinstance(pad, tuple | list):
        raise TypeError(f"`pad` (={pad!r}) must be a tuple or list of ints.")
    entries = [integer("pad", entry) for entry in pad]
    if len(entries) % 2 or len(entries) > 2 * ndim:
        raise ValueError(
            f"`pad` (={tuple(pad)}) must hold pairs, at most one for each of the "
            f"input's {ndim} axes."
        )
    return list(zip(entries[::2], entries[1::2], strict=True))[::-1]


def _crop(x: Tensor, sides: list[tuple[int, int]]) -> Tensor:
    """Drop what the negative entries ask to drop."""
    if all(before >= 0 and after >= 0 for before, after in sides):
        return x
    first = x.ndim - len(sides)
    window = [slice(None)] * first
    for n, (before, after) in zip(x.shape[first:], sides, strict=True):
        start, stop = max(-before, 0), n - max(-after, 0)
        if start >= stop:
            raise ValueError(f"`pad` crops an axis of {n} to nothing.")
        window.append(slice(start, stop))
    return x[tuple(window)]
