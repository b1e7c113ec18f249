"""The bytes that a GPU copies only because memory has another order.

MLX gives arrays the same strides on every backend, so those of this machine tell what
its Metal backend would copy before it computes: the inputs of a custom kernel and of a
convolution that are not row-contiguous, a matrix whose rows and columns both have gaps,
what a reshape cannot read in place, and what `mx.contiguous` is for. What MLX's own
derivatives call is not seen, nor what it copies for a reduction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
from dataclasses import dataclass, field
import functools
from typing import Any
from unittest import mock

from lucid.metal import guard, launch
import mlx.core as mx


@dataclass(frozen=True)
class Copy:
    """One array, copied before `by` reads it."""

    by: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass
class Copies:
    """What was copied so far, apart from arrays of less than `smallest` bytes."""

    smallest: int
    found: list[Copy] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        return sum(copy.nbytes for copy in self.found)

    def note(self, by: str, x: mx.array, is_copied: bool) -> None:
        if is_copied and x.nbytes >= self.smallest:
            self.found.append(Copy(by, x.shape, x.nbytes))


@contextlib.contextmanager
def counted_copies(smallest: int = 0) -> Iterator[Copies]:
    """Counts the copies of what runs inside; within `emulated_metal`."""
    copies = Copies(smallest)
    with contextlib.ExitStack() as stack:
        for target, name, watch in _WATCHED:
            function = getattr(target, name)
            spy = _spy(function, functools.partial(watch, copies))
            stack.enter_context(mock.patch.object(target, name, spy))
        yield copies


def _spy(function: Callable[..., Any], watch: Callable[..., None]) -> Any:
    @functools.wraps(function)
    def spied(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if not guard.is_checking():  # which is done once, not at every step
            with contextlib.suppress(_TraceError):
                watch(result, *args, **kwargs)
        return result

    return spied


class _TraceError(Exception):
    """An array of a trace, which has no memory."""


def strides_of(x: mx.array) -> list[int]:
    """In elements."""
    try:
        mx.eval(x)
    except (RuntimeError, ValueError):
        raise _TraceError from None
    plain: Any = x.view(mx.uint16) if x.dtype == mx.bfloat16 else x
    strides = memoryview(plain).strides
    assert strides is not None
    return [stride // x.itemsize for stride in strides]


def is_row_contiguous(x: mx.array) -> bool:
    expected = 1
    for size, stride in zip(reversed(x.shape), reversed(strides_of(x)), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _launched(copies: Copies, _: Any, name: str, inputs: dict, *__: Any, **___: Any):
    for x in inputs.values():
        copies.note(name, x, not is_row_contiguous(x))


def _contiguous(copies: Copies, _: Any, x: mx.array, *__: Any, **___: Any) -> None:
    copies.note("contiguous", x, not is_row_contiguous(x))


def _convolved(
    copies: Copies, _: Any, x: mx.array, weight: mx.array, *__: Any, **___: Any
) -> None:
    for array in (x, weight):
        copies.note("convolution", array, not is_row_contiguous(array))


def _multiplied(copies: Copies, _: Any, a: mx.array, b: mx.array) -> None:
    for x in (a, b):
        if x.ndim > 1:
            copies.note("product", x, 1 not in strides_of(x)[-2:])


def _added_to_product(
    copies: Copies, y: Any, c: mx.array, a: mx.array, b: mx.array, **_: Any
) -> None:
    _multiplied(copies, y, a, b)


def _reshaped(copies: Copies, y: mx.array, x: mx.array, *_: Any, **__: Any) -> None:
    repeats = 0 in strides_of(x)  # a broadcast: the result is more than a copy
    copies.note("reshape", x, not repeats and not _fits(x, y.shape))


def _fits(x: mx.array, shape: Sequence[int]) -> bool:
    """Whether a reshape reads `x` where it is (prepare_reshape in MLX's source)."""
    if x.size == 0 or x.ndim == 0 or is_row_contiguous(x):
        return True
    runs = _runs(x)
    at = 0
    for size in shape:
        if at < len(runs) and runs[at] % size == 0:
            runs[at] //= size
            at += runs[at] == 1
        elif size != 1:
            return False
    return True


def _runs(x: mx.array) -> list[int]:
    """The lengths of the axes, those that are one run of memory taken together."""
    axes = [
        (size, stride)
        for size, stride in zip(x.shape, strides_of(x), strict=True)
        if size != 1
    ]
    runs: list[tuple[int, int]] = []
    for size, stride in axes:
        if runs and runs[-1][1] == size * stride:
            runs[-1] = runs[-1][0] * size, stride
        else:
            runs.append((size, stride))
    return [length for length, _ in runs]


_WATCHED: list[tuple[Any, str, Callable[..., None]]] = [
    (launch, "run", _launched),
    (mx, "contiguous", _contiguous),
    (mx, "conv3d", _convolved),
    (mx, "conv_general", _convolved),
    (mx, "matmul", _multiplied),
    (mx.array, "__matmul__", _multiplied),
    (mx, "addmm", _added_to_product),
    (mx.array, "reshape", _reshaped),
    (mx, "reshape", _reshaped),
    (mx, "flatten", _reshaped),
    (mx.array, "flatten", _reshaped),
    (mx, "unflatten", _reshaped),
]
