"""How many bytes a function reads and writes on a GPU, from MLX's own graph of it.

`mx.export_function` hands over the operations and Metal kernels that a call would run,
with no GPU at hand, and nothing is computed. Counted are the elements that each reads,
once, however often it comes back to them (a cache serves these), and those that it
writes; views move nothing, and what MLX copies first, because a kernel or a reshape
wants it in another order, counts as well. What two results share is counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
from dataclasses import dataclass
import math
import os
from typing import Any, ClassVar
from unittest import mock

from lucid import _device
from lucid.metal import launch
import mlx.core as mx
import numpy as np

_CUSTOM_FUNCTION = mx.custom_function
_LAUNCH = launch.launch


def bytes_moved(function: Callable[..., Any], *inputs: mx.array) -> int:
    """What `function(*inputs)` reads and writes on a GPU."""
    records: list[dict[str, Any]] = []
    stand_ins = [mx.zeros(x.shape, x.dtype) for x in inputs]
    with _as_on_a_gpu():
        mx.export_function(records.append, function, *stand_ins)
    return _Graph(records).bytes


def with_gradients(
    function: Callable[..., mx.array], *inputs: mx.array
) -> tuple[mx.array, ...]:
    """Output and gradients of `function(*inputs[:-1])`; the last is the cotangent.

    For `bytes_moved`, which wants a graph without custom functions: the rules for their
    gradients take what a first call, without any, has computed.
    """
    *primals, cotangent = inputs
    calls: list[tuple[Any, Any]] = []  # arguments and outputs of custom functions

    def record(custom: _Transparent, arguments: Any) -> Any:
        outputs = custom.function(*arguments)
        calls.append((arguments, outputs))
        return outputs

    mx.random.seed(0)
    with _calling(record):
        y = function(*primals)
    again = iter(calls)
    mx.random.seed(0)  # the same mask
    with _calling(lambda custom, xs: custom.with_rule(*next(again))(*xs)):
        _, gradients = mx.vjp(lambda *xs: [function(*xs)], primals, [cotangent])
    return y, *gradients


class _Transparent:
    """`mx.custom_function`, of which MLX exports none: the function itself."""

    # What calls one that has a rule and is not inside of another.
    call: ClassVar[Callable[[_Transparent, Any], Any] | None] = None

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.rule: Any = None

    def vjp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        self.rule = rule
        return rule

    def jvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        return rule

    def __call__(self, *arguments: Any) -> Any:
        call = _Transparent.call
        if call is None or self.rule is None:
            return self.function(*arguments)
        with _calling(None):
            return call(self, arguments)

    def with_rule(self, arguments: Any, outputs: Any) -> Callable[..., Any]:
        """A custom function whose rule takes these, whatever it is called with."""
        custom: Any = _CUSTOM_FUNCTION(lambda *_: outputs)

        @custom.vjp
        def transparent(_: Any, cotangents: Any, __: Any) -> Any:
            with _calling(None):
                primals = arguments if len(arguments) > 1 else arguments[0]
                return self.rule(primals, cotangents, outputs)

        return custom


@contextlib.contextmanager
def _calling(call: Callable[[_Transparent, Any], Any] | None) -> Iterator[None]:
    with mock.patch.object(_Transparent, "call", call):
        yield


@contextlib.contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    answers = {"on_gpu": lambda: True, "has_metal": lambda: True}
    with contextlib.ExitStack() as stack:
        if os.environ.get("LUCID_METAL") != "0":  # nothing runs, nor is it checked
            trusting = mock.patch.dict(os.environ, LUCID_METAL="trust")
            stack.enter_context(trusting)
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(_device, name, answer))
        patches = (
            (mx, "custom_function", _Transparent),
            (launch, "launch", _launched),
            # Which MLX does not export; the kernel that reads it counts the copy.
            (mx, "contiguous", lambda x, *_: x),
        )
        for target, name, new in patches:
            stack.enter_context(mock.patch.object(target, name, new))
        yield


def _launched(name: str, inputs: dict[str, mx.array], *rest: Any, **sizes: Any) -> Any:
    """Sums over the first voxels of a channel do not read the others."""
    if name == "channel_sums":
        rows = int(inputs["size"][0].item())
        few = {key: x[:, :rows] for key, x in inputs.items() if key in ("a", "x")}
        inputs = {**inputs, **few}
    return _LAUNCH(name, inputs, *rest, **sizes)


_VIEWS = {
    "Broadcast",
    "BroadcastAxes",
    "ExpandDims",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
}
_RESHAPES = {"Flatten", "Reshape", "Unflatten"}
# Of one array: what they write has its order.
_UNARY = {
    "Abs", "AsType", "Cos", "Erf", "ErfInv", "Exp", "Expm1", "Log", "Log1p",
    "LogicalNot", "Negative", "Sigmoid", "Sign", "Sin", "Sqrt", "Square", "Tanh",
}  # fmt: skip


@dataclass(frozen=True)
class _Array:
    """Shape and strides (in elements) of an array, and its elements' size."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    itemsize: int

    @property
    def nbytes(self) -> int:
        """Of the elements that are not repeated by a stride of 0."""
        pairs = zip(self.shape, self.strides, strict=True)
        return self.itemsize * math.prod(n for n, stride in pairs if stride)

    @property
    def is_row_contiguous(self) -> bool:
        rows = _row_strides(self.shape)
        triples = zip(self.shape, self.strides, rows, strict=True)
        return all(n == 1 or stride == row for n, stride, row in triples)

    @property
    def is_dense(self) -> bool:
        """Row-contiguous but for the order of the axes."""
        order = np.argsort([-stride for stride in self.strides], kind="stable")
        return self.permuted(order).is_row_contiguous

    def permuted(self, axes: Sequence[int]) -> _Array:
        shape, strides = self.shape, self.strides
        return _Array(
            tuple(shape[i] for i in axes),
            tuple(strides[i] for i in axes),
            self.itemsize,
        )


class _Graph:
    """Adds up what a graph's operations read and write, in their order."""

    def __init__(self, records: Sequence[dict[str, Any]]) -> None:
        self.bytes = 0
        self.arrays: dict[str, _Array] = {}
        self.same: dict[str, str] = {}  # as another array, computed before
        self.seen: dict[Any, list[str]] = {}
        for record in records:
            if record["type"] == "inputs":
                for name, shape, dtype in record["inputs"]:
                    self._add(name, shape, dtype)
            elif record["type"] == "constants":
                for name, value in record["constants"]:
                    self._add_constant(name, value)
            elif record["type"] == "primitive":
                self._compute(record)

    def _add(self, name: str, shape: Sequence[int], dtype: mx.Dtype) -> None:
        self.arrays[name] = _Array(tuple(shape), _row_strides(shape), dtype.size)

    def _add_constant(self, name: str, value: mx.array) -> None:
        self._add(name, value.shape, value.dtype)
        numbers = np.array(value.astype(mx.float32)).tobytes()
        key = str(value.dtype), value.shape, numbers
        self.same[name] = self.seen.setdefault(key, [name])[0]

    def _compute(self, record: dict[str, Any]) -> None:
        inputs = [self.same.get(name, name) for name, *_ in record["inputs"]]
        outputs = [name for name, *_ in record["outputs"]]
        if record["name"] == "StopGradient":
            self.same[outputs[0]] = inputs[0]
            return
        key = record["name"], tuple(inputs), str(record["arguments"])
        first = self.seen.setdefault(key, outputs)
        if first is not outputs:
            self.same.update(zip(outputs, first, strict=True))
            return
        for name, shape, dtype in record["outputs"]:
            self._add(name, shape, dtype)
        read = [self.arrays[name] for name in dict.fromkeys(inputs)]
        self._count(record["name"], record["arguments"], read, outputs)

    def _count(
        self, name: str, arguments: Any, read: list[_Array], outputs: list[str]
    ) -> None:
        written = [self.arrays[output] for output in outputs]
        if name in _VIEWS:
            for output, of in zip(outputs, written, strict=True):
                self.arrays[output] = _view(name, arguments, read[0], of)
            return
        if name in _RESHAPES and _is_view(read[0], written[0].shape):
            return
        self.bytes += sum(x.nbytes for x in (*read, *written))
        if name == "CustomKernel":  # MLX copies it first
            self.bytes += sum(2 * x.nbytes for x in read if not x.is_row_contiguous)
        elif name == "Pad":  # filled, then copied into
            self.bytes += read[0].nbytes
        elif name in _UNARY and read[0].is_dense:
            size = written[0].itemsize
            self.arrays[outputs[0]] = _Array(read[0].shape, read[0].strides, size)


def _view(name: str, arguments: Any, x: _Array, y: _Array) -> _Array:
    if name == "Transpose":
        return x.permuted(arguments[0])
    if name == "Slice":
        steps = zip(x.strides, arguments[2], strict=True)
        return _Array(y.shape, tuple(s * step for s, step in steps), x.itemsize)
    if name == "Split":
        return _Array(y.shape, x.strides, x.itemsize)
    strides = list(x.strides)
    if name == "ExpandDims":
        for axis in arguments[0]:
            strides.insert(axis, 1)
    elif name == "Squeeze":
        strides = [s for i, s in enumerate(strides) if i not in arguments[0]]
    else:  # a broadcast
        strides = [0] * (len(y.shape) - len(strides)) + strides
        before = [1] * (len(y.shape) - len(x.shape)) + list(x.shape)
        triples = zip(strides, before, y.shape, strict=True)
        strides = [0 if old != new else s for s, old, new in triples]
    return _Array(y.shape, tuple(strides), x.itemsize)


def _is_view(x: _Array, shape: Sequence[int]) -> bool:
    """Whether a reshape reads `x` where it is (prepare_reshape in MLX's source)."""
    runs: list[tuple[int, int]] = []  # axes that are one run of memory, together
    for n, stride in zip(x.shape, x.strides, strict=True):
        if n == 1:
            continue
        if runs and stride and runs[-1][1] == n * stride:
            runs[-1] = runs[-1][0] * n, stride
        else:
            runs.append((n, stride))
    left = [n for n, _ in runs]
    for n in shape:
        if left and left[0] % n == 0:
            left[0] //= n
            left = left[left[0] == 1 :]
        elif n != 1:
            return False
    return all(stride for _, stride in runs)


def _row_strides(shape: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))
