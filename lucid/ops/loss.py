"""What losses are made of, in float32."""

from __future__ import annotations

from typing import Any

from lucid._device import is_plain
from lucid.ops.derivative import with_derivatives
import mlx.core as mx


def total(x: mx.array, keep: int = 0) -> mx.array:
    """The sum over all axes but the first `keep`.

    Axis by axis, so that no sum is long: as exact as pairwise summation, and faster
    than one long sum. The last axis comes last: sums of the others are taken side by
    side.
    """
    while x.ndim > keep + 1:
        x = x.sum(axis=-2)
    return x.sum(axis=-1) if x.ndim > keep else x


class Labels:
    """Class indices (N, ...), made fit for arithmetic.

    Attributes:
        classes: how many there are.
        index: uint8 or int32, 0 where it is no class.
        is_class: where it is one of 0, 1, ... classes - 1, and not `ignored`.
        penalty: 0, or NaN if some index is neither a class nor `ignored`.
    """

    def __init__(self, index: mx.array, classes: int, ignored: int | None = None):
        wide = index.dtype in (mx.uint32, mx.int64, mx.uint64)
        index = mx.stop_gradient(index.astype(mx.int64 if wide else mx.int32))
        # Without its sign a negative number is large: one comparison for two.
        inside = index.view(mx.uint64 if wide else mx.uint32) < classes
        self.classes = classes
        self.index = index.astype(mx.uint8 if classes <= 256 else mx.int32) * inside
        self.is_class = inside
        if ignored is not None:
            is_ignored = index == mx.array(ignored, mx.int64)  # MLX would take int32
            if 0 <= ignored < classes:
                self.is_class = inside & ~is_ignored
            inside = inside | is_ignored
        self.penalty = mx.where(inside.sum() == inside.size, 0.0, mx.nan)

    def one_hot(self) -> mx.array:
        """(N, classes, ...) of 0 and 1, all 0 where there is no class."""
        return _floats(_is_each(self.index, self.classes) & self.is_class[:, None])

    def pick(self, x: mx.array) -> mx.array:
        """From x (N, classes, ...), the entry of each index: (N, ...)."""
        return pick(x, self.index)


def one_hot(index: mx.array, classes: int) -> mx.array:
    """(N, classes, ...) of 0 and 1, from indices (N, ...)."""
    return _floats(_is_each(index, classes))


def _is_each(index: mx.array, classes: int) -> mx.array:
    numbers = mx.arange(classes, dtype=index.dtype)
    return index[:, None] == numbers.reshape(classes, *[1] * (index.ndim - 1))


def _floats(truth: mx.array) -> mx.array:
    return truth.view(mx.uint8).astype(mx.float32)  # twice as fast as from bool


def pick(x: mx.array, index: mx.array) -> mx.array:
    """From x (N, classes, ...), the entry of each index (N, ...): (N, ...)."""

    def forward(x: mx.array, index: mx.array) -> mx.array:
        return mx.take_along_axis(x, index[:, None], axis=1)[:, 0]

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, mx.array]:
        x, index = arguments
        # A product where MLX's own would scatter.
        return one_hot(index, x.shape[1]) * dy[:, None], mx.zeros_like(index)

    def jvp(arguments: Any, tangents: Any) -> mx.array:
        return pick(tangents[0], arguments[1])

    if x.shape[1] == 1:
        return x[:, 0]
    if is_plain():
        return forward(x, index)
    return with_derivatives(forward, vjp, jvp)(x, index)


def binary_cross_entropy(x: mx.array, target: mx.array) -> mx.array:
    """-(t log(x) + (1 - t) log(1 - x)), no logarithm below -100."""

    def forward(x: mx.array, target: mx.array) -> mx.array:
        return -(target * _log(x) + (1 - target) * _log1p(-x))

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, mx.array]:
        x, target = arguments
        # Where a logarithm stops at -100 the slope is steep, not 0, as in PyTorch.
        dx = dy * (x - target) / mx.maximum((1 - x) * x, 1e-12)
        return dx, dy * (_log1p(-x) - _log(x))

    def jvp(arguments: Any, tangents: Any) -> mx.array:
        parts = zip(vjp(arguments, mx.array(1.0)), tangents, strict=True)
        return sum((d * t for d, t in parts if t is not None), start=mx.array(0.0))

    if is_plain():
        return forward(x, target)
    return with_derivatives(forward, vjp, jvp)(x, target)


def _log(x: mx.array) -> mx.array:
    return mx.maximum(mx.log(x), -100.0)


def _log1p(x: mx.array) -> mx.array:
    return mx.maximum(mx.log1p(x), -100.0)
