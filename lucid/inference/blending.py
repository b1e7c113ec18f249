"""How the predictions of windows become that of a volume."""

from __future__ import annotations

from typing import Any

from lucid._types import check_allocatable
from lucid.nn import functional as F
import mlx.core as mx

Window = tuple[slice, ...]
"""Where a window lies in (N, C, D, H, W)."""


class Blend:
    """The weighted mean of windows that come in the order of volume and depth.

    Sums are held for as many planes as a window has; planes that no window to come
    reaches are divided by their weights and stored.
    """

    def __init__(
        self,
        padded: tuple[int, ...],
        roi: tuple[int, ...],
        output: tuple[int, ...],
        dtype: mx.Dtype,
    ):
        self._scale = [out / n for out, n in zip(output[2:], roi, strict=True)]
        scaled = zip(padded[2:], self._scale, strict=True)
        size = [int(n * scale) for n, scale in scaled]
        shape = (padded[0], output[1], *size)
        check_allocatable("`inputs` (float16 as `output_dtype` takes half)", shape, 4)
        self._result = mx.zeros(shape, dtype)
        held = (output[1], output[2], *size[1:])
        self._sums, self._weights = mx.zeros(held), mx.zeros((1, *held[1:]))
        self._volume = self._plane = 0

    def add(self, batch: list[Window], output: mx.array, weights: mx.array) -> None:
        weights = _nearest(weights, output.shape[2:])
        values = output.astype(mx.float32) * weights
        weights = mx.broadcast_to(weights, (len(batch), *weights.shape[1:]))
        for i, (volume, _, *window) in enumerate(batch):
            d, h, w = (
                slice(int(part.start * scale), int(part.start * scale) + n)
                for part, scale, n in zip(
                    window, self._scale, output.shape[2:], strict=True
                )
            )
            self._move_to(volume.start, d.start)
            place = (slice(None), slice(None), h, w)
            _add(self._sums, place, values[i])
            _add(self._weights, place, weights[i])

    def finished(self) -> mx.array:
        self._move_to(self._volume + 1, 0)
        return self._result

    def _move_to(self, volume: int, plane: int) -> None:
        """Store the planes before this one."""
        depth = self._result.shape[2]
        count = self._sums.shape[1]
        if volume == self._volume:
            count = min(plane - self._plane, count)
        if count == 0:
            return
        stop = min(self._plane + count, depth)
        done = self._sums[:, :count] / self._weights[:, :count]
        done = done[:, : stop - self._plane].astype(self._result.dtype)
        _set(self._result, (self._volume, slice(None), slice(self._plane, stop)), done)
        for name in ("_sums", "_weights"):
            held = getattr(self, name)
            moved = mx.pad(held[:, count:], [(0, 0), (0, count), (0, 0), (0, 0)])
            mx.eval(moved)
            setattr(self, name, moved)
        self._volume, self._plane = volume, plane


def _add(total: mx.array, place: Any, values: mx.array) -> None:
    _set(total, place, total[place] + values)


def _set(total: mx.array, place: Any, values: mx.array) -> None:
    """In place: when it is evaluated, nothing but `total` refers to its memory."""
    mx.eval(values)
    total[place] = values
    mx.eval(total)


def importance(
    roi: tuple[int, ...], mode: str, sigma_scale: tuple[float, ...]
) -> mx.array:
    """(1, 1, depth, height, width); at least 0.001, as MONAI has it."""
    weights = mx.ones(roi)
    if mode == "gaussian":
        for axis, (n, scale) in enumerate(zip(roi, sigma_scale, strict=True)):
            x = (mx.arange(n) - (n - 1) / 2) / (n * scale)
            along = [n if i == axis else 1 for i in range(3)]
            weights = weights * mx.exp(-x.square() / 2).reshape(along)
        weights = mx.maximum(weights, 1e-3)
    return weights[None, None]


def checked_weights(name: str, weights: Any, roi: tuple[int, ...]) -> mx.array:
    """A user's weights, as one window's or as many as a batch has."""
    if not isinstance(weights, mx.array):
        weights = mx.array(weights)
    if weights.ndim == 3:
        weights = weights[None, None]
    if weights.ndim != 5 or weights.shape[1:] != (1, *roi):
        raise ValueError(
            f"`{name}` must give weights of shape {roi}, got {weights.shape}."
        )
    return weights.astype(mx.float32)


def _nearest(weights: mx.array, size: tuple[int, ...]) -> mx.array:
    """Resized to an output's, each voxel taking the nearest weight."""
    if weights.shape[2:] == size:
        return weights
    d, h, w = size
    return F.interpolate(weights, (d, h, w), mode="nearest-exact")


def cropped(
    whole: mx.array, sides: list[int], size: tuple[int, ...], roi: tuple[int, ...]
) -> mx.array:
    """Without the padding; MONAI scales it by the result's size over the window's."""
    if not any(sides):
        return whole
    spans = []
    for before, n, out, r in zip(
        sides[::2][::-1], size, whole.shape[2:], roi, strict=True
    ):
        scale = out / r
        spans.append(slice(round(before * scale), round((before + n) * scale)))
    return whole[(slice(None), slice(None), *spans)]
