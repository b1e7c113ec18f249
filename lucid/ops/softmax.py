"""Softmax and log(sum(exp)), with one exponential for both and for their gradients."""

from __future__ import annotations

from typing import Any

from lucid._device import is_plain
from lucid.ops.derivative import with_derivatives
from lucid.ops.exponential import exp_of_negative
from lucid.ops.loss import Labels, one_hot, pick
import mlx.core as mx


class Normalized:
    """An array's softmax along an axis, and the logarithm of what it divides by.

    Whichever is asked for is computed, from an exponential that they share. On a CPU
    an exponential takes as long as fifty additions.
    """

    def __init__(self, x: mx.array, axis: int):
        self.x, self._axis = x, axis
        largest = mx.stop_gradient(x).max(axis=axis, keepdims=True)
        if is_plain():
            exponential = mx.exp(x - largest)
        else:
            exponential = exp_of_negative(mx.stop_gradient(x) - largest)
        total = exponential.sum(axis=axis, keepdims=True)
        self._softmax = exponential / total
        self._logsumexp = largest + mx.log(total)

    @property
    def softmax(self) -> mx.array:
        """exp(x) / sum(exp(x))."""
        if is_plain():
            return self._softmax
        return _softmax(self.x, self._softmax, self._axis)

    @property
    def logsumexp(self) -> mx.array:
        """log(sum(exp(x))), the axis kept with length 1."""
        if is_plain():
            return self._logsumexp
        return _logsumexp(self.x, self._softmax, self._logsumexp, self._axis)

    def cross_entropy(self, labels: Labels) -> mx.array:
        """-log(softmax) of each label's class, (N, ...); the axis is 1."""
        if is_plain():
            return self._logsumexp[:, 0] - labels.pick(self.x)
        return _cross_entropy(self.x, self._softmax, self._logsumexp, labels)


def _softmax(x: mx.array, known: mx.array, axis: int) -> mx.array:
    """The softmax of x, which is known, with the gradient of one."""

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, mx.array]:
        x, known = arguments
        y = _softmax(x, known, axis)
        inner = (y * dy).sum(axis=axis, keepdims=True)
        return y * (dy - inner), mx.zeros_like(known)

    def jvp(arguments: Any, tangents: Any) -> mx.array:
        return vjp(arguments, tangents[0])[0]  # the matrix is symmetric

    return with_derivatives(lambda x, known: known, vjp, jvp)(x, known)


def _logsumexp(x: mx.array, softmax: mx.array, known: mx.array, axis: int) -> mx.array:
    """log(sum(exp(x))), which is known, with the gradient of one."""

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, ...]:
        x, softmax, known = arguments
        dx = _softmax(x, softmax, axis) * dy
        return dx, mx.zeros_like(softmax), mx.zeros_like(known)

    def jvp(arguments: Any, tangents: Any) -> mx.array:
        x, softmax, _ = arguments
        return (_softmax(x, softmax, axis) * tangents[0]).sum(axis=axis, keepdims=True)

    return with_derivatives(lambda x, softmax, known: known, vjp, jvp)(
        x, softmax, known
    )


def _cross_entropy(
    x: mx.array, softmax: mx.array, logsumexp: mx.array, labels: Labels
) -> mx.array:
    """logsumexp - x[index], with one gradient for both."""

    def forward(
        x: mx.array, softmax: mx.array, logsumexp: mx.array, index: mx.array
    ) -> mx.array:
        return logsumexp[:, 0] - pick(x, index)

    def slope(arguments: Any) -> mx.array:
        x, softmax, _, index = arguments
        return _softmax(x, softmax, 1) - one_hot(index, x.shape[1])

    def vjp(arguments: Any, dy: mx.array) -> tuple[mx.array, ...]:
        _, *constant = arguments
        return slope(arguments) * dy[:, None], *map(mx.zeros_like, constant)

    def jvp(arguments: Any, tangents: Any) -> mx.array:
        return (slope(arguments) * tangents[0]).sum(axis=1)

    return with_derivatives(forward, vjp, jvp)(x, softmax, logsumexp, labels.index)
