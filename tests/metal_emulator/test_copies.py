"""Counting copies: each kind of operation with what it copies, and with what not."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest

from .copies import counted_copies

LAST = mx.arange(2 * 3 * 4 * 5 * 6, dtype=mx.float32).reshape(2, 3, 4, 5, 6)
FIRST = LAST.transpose(0, 4, 1, 2, 3)  # of the same memory
WEIGHT = mx.ones((7, 1, 2, 3, 6))
SOME = LAST[:, :, :, :, 1:4]

# What copies how many arrays.
OPERATIONS: dict[str, tuple[Callable[[], mx.array], list[tuple[int, ...]]]] = {
    "contiguous": (lambda: mx.contiguous(FIRST), [FIRST.shape]),
    "contiguous already": (lambda: mx.contiguous(LAST), []),
    "convolution": (lambda: mx.conv3d(LAST, WEIGHT), []),
    "of a view": (lambda: mx.conv3d(FIRST, mx.ones((1, 1, 1, 1, 5))), [FIRST.shape]),
    "of a transposed weight": (
        lambda: mx.conv3d(LAST, mx.ones((7, 6, 1, 2, 3)).transpose(0, 2, 3, 4, 1)),
        [WEIGHT.shape],
    ),
    "rows": (lambda: LAST.reshape(-1, 6), []),
    "rows of a slice": (lambda: SOME.reshape(-1, 3), []),
    "rows of some planes": (lambda: LAST[:, :, 1:3].reshape(-1, 6), [(2, 3, 2, 5, 6)]),
    "voxels of channels": (lambda: FIRST.reshape(2, 6, -1), []),
    "rows of a broadcast": (
        lambda: mx.broadcast_to(LAST[:, :, :, None], (2, 3, 4, 2, 5, 6)).reshape(-1, 6),
        [],
    ),
    "elements of a view": (lambda: mx.flatten(FIRST), [FIRST.shape]),
    "product": (lambda: LAST[0, 0, 0] @ LAST[0, 0, 0].T, []),
    "of columns with gaps": (lambda: LAST[0, 0, 0][:, ::2] @ mx.ones((3, 1)), [(5, 3)]),
    "of a column": (lambda: mx.addmm(mx.ones(1), LAST[0, 0, 0], mx.ones((6, 1))), []),
    "a sum of views": (lambda: FIRST + FIRST, []),  # it only writes another order
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_copied_is_counted(name):
    function, copied = OPERATIONS[name]
    with counted_copies() as copies:
        function()
    assert [copy.shape for copy in copies.found] == copied


def test_small_arrays_are_left_out():
    with counted_copies(smallest=FIRST.nbytes + 1) as copies:
        mx.contiguous(FIRST)
    assert copies.nbytes == 0


def test_arrays_of_a_trace_have_no_memory_to_copy():
    with counted_copies() as copies:
        mx.compile(lambda x: mx.contiguous(x.T))(LAST[0, 0, 0])
    assert copies.found == []
