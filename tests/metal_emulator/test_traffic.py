"""Bytes are counted from the graph that MLX hands over."""

from __future__ import annotations

from lucid.metal import padding
import mlx.core as mx
import pytest

from .traffic import bytes_moved, with_gradients

X = mx.zeros((4, 6, 8))
SIZE = X.nbytes


@pytest.mark.parametrize(
    ("function", "moved"),
    [
        (lambda x: x + 1, 2 * SIZE),
        (lambda x: x * x, 2 * SIZE),
        (lambda x: mx.exp(x) * x, 5 * SIZE),
        (lambda x: x.astype(mx.float16), 1.5 * SIZE),
        (lambda x: x.transpose(2, 0, 1), 0),
        (lambda x: x.reshape(24, 8), 0),
        (lambda x: x[:2], 0),
        (lambda x: x[:2] + 1, SIZE),
        (lambda x: x.sum((0, 1)), SIZE + 32),
        (lambda x: x + x.sum((0, 1)), 3 * SIZE + 64),
        # A copy, since no view of what is transposed or repeated has this shape.
        (lambda x: x.transpose(2, 0, 1).reshape(-1), 2 * SIZE),
        (lambda x: mx.broadcast_to(x, (2, *X.shape)).reshape(-1), 3 * SIZE),
        (
            lambda x: mx.exp(x.transpose(2, 1, 0)).transpose(2, 1, 0).reshape(-1),
            2 * SIZE,
        ),
        (lambda x: mx.pad(x, [(4, 0), (0, 0), (0, 0)]), 4 * SIZE),
    ],
)
def test_operations_read_and_write_once(function, moved):
    assert bytes_moved(function, X) == pytest.approx(moved, abs=8)  # two scalars


def test_a_kernel_copies_what_is_not_contiguous_first():
    x = mx.zeros((1, 2, 3, 4, 5))
    sides = ((0, 0), (0, 0), (1, 1))
    padded = x.nbytes * 6 // 4

    def pad(x: mx.array) -> mx.array:
        return padding.pad(x, sides, "reflect")

    small = 2 * 12  # sizes and sides
    assert bytes_moved(pad, x) == x.nbytes + padded + small
    turned = mx.zeros((1, 3, 2, 4, 5))
    once_more = bytes_moved(lambda x: pad(x.transpose(0, 2, 1, 3, 4)), turned)
    assert once_more == 3 * x.nbytes + padded + small


def test_what_output_and_gradient_share_is_counted_once():
    def square_of_exp(x: mx.array) -> mx.array:
        return mx.exp(x) ** 2

    def gradient(*arrays: mx.array) -> mx.array:
        return with_gradients(square_of_exp, *arrays)[1]

    both = bytes_moved(lambda *xs: with_gradients(square_of_exp, *xs), X, X)
    alone = bytes_moved(square_of_exp, X), bytes_moved(gradient, X, X)
    assert max(alone) < both < sum(alone) - SIZE
