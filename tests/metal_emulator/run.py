"""Runs a kernel over its whole grid, three times, on buffers that tell of misuse.

The runs differ in the order of the threads, in what lies around the buffers, in
uninitialized memory and in the address of the inputs. They must agree bit for bit.
"""

from collections.abc import Sequence
import ctypes
from dataclasses import dataclass, field
import math
import threading

import numpy as np

from .build import build, runtime
from .capture import Kernel
from .errors import EmulationError
from .translate import parameters, uses_fibers

_GUARD = 256  # bytes on either side of a buffer
_ALIGNMENT = 256
_MAX_THREADS = 1024  # in a threadgroup
_one_at_a_time = threading.Lock()  # the scheduler keeps its state in globals


@dataclass(frozen=True)
class Setting:
    """How one run differs from the others."""

    order: str
    poison: int  # a byte; 0xFF makes NaN of every floating-point type
    offset: int = 0  # elements that the inputs are moved by, as a view's may be

    @property
    def other_poison(self) -> int:
        """Around inputs and in threadgroup memory: a copy is no unwritten output."""
        return self.poison ^ 0x80

    @property
    def order_index(self) -> int:
        return ("forward", "reverse", "shuffled").index(self.order)


SETTINGS = (
    Setting("forward", 0xFF),
    Setting("reverse", 0x7F, offset=1),
    Setting("shuffled", 0xFE),
)


def run(kernel: Kernel, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs; those of dtype bfloat16 as uint16.

    Raises:
        EmulationError: if a run reports a fault, or two do not agree.
    """
    _check_sizes(kernel)
    runs = [_run_once(kernel, inputs, setting) for setting in SETTINGS]
    names = _output_names(kernel)
    for i, name in enumerate(names):
        _check_written(name, [outputs[i] for outputs in runs])
    for setting, outputs in zip(SETTINGS[1:], runs[1:], strict=True):
        for i in range(len(names)):
            if outputs[i].tobytes() != runs[0][i].tobytes():
                raise EmulationError(_disagreement(kernel, inputs, setting, i, runs[0]))
    return runs[0]


@dataclass
class _Buffer:
    """Bytes with a guard on either side."""

    nbytes: int
    poison: int
    offset: int = 0
    memory: np.ndarray = field(init=False)
    start: int = field(init=False)

    def __post_init__(self) -> None:
        size = self.nbytes + 2 * _GUARD + _ALIGNMENT + self.offset
        self.memory = np.full(size, self.poison, np.uint8)
        address = self.memory.ctypes.data + _GUARD
        self.start = _GUARD + -address % _ALIGNMENT + self.offset
        _forbid(self.address - _GUARD, _GUARD)
        _forbid(self.address + self.nbytes, _GUARD)

    @property
    def address(self) -> int:
        return self.memory.ctypes.data + self.start

    @property
    def data(self) -> np.ndarray:
        return self.memory[self.start : self.start + self.nbytes]

    def fault(self) -> str | None:
        """Where it was written to outside."""
        _allow(self.address - _GUARD, self.nbytes + 2 * _GUARD)
        end = self.start + self.nbytes
        if (self.memory[: self.start] != self.poison).any():
            return "before its first element"
        if (self.memory[end:] != self.poison).any():
            return "past its last element"
        return None


def _run_once(
    kernel: Kernel, inputs: Sequence[np.ndarray], setting: Setting
) -> list[np.ndarray]:
    function = build(kernel.name, kernel.source)
    named = _buffers(kernel, inputs, setting)
    addresses = (ctypes.c_void_p * len(named))(*(b.address for _, b in named))
    before = [buffer.data.copy() for _, buffer in named]
    triple = ctypes.c_uint * 3
    with _one_at_a_time:
        error: bytes = runtime().shim_launch(
            function,
            addresses,
            triple(*kernel.grid),
            triple(*kernel.threadgroup),
            ctypes.c_bool(uses_fibers(kernel.source)),
            setting.order_index,
            setting.other_poison,
        )
    first_output = len(named) - len(kernel.output_shapes)
    for i, (name, buffer) in enumerate(named):
        fault = buffer.fault()
        if fault is None and i < first_output and (buffer.data != before[i]).any():
            fault = "though it is an input"
        if fault:
            raise EmulationError(f"{kernel.name}: `{name}` is written to {fault}")
    if error:
        raise EmulationError(f"{kernel.name}: {error.decode()}")
    return [
        buffer.data.view(numpy_dtype(dtype)).reshape(shape)
        for (_, buffer), dtype, shape in zip(
            named[first_output:],
            kernel.output_dtypes,
            kernel.output_shapes,
            strict=True,
        )
    ]


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype("uint16" if name == "bfloat16" else name)


def _buffers(
    kernel: Kernel, inputs: Sequence[np.ndarray], setting: Setting
) -> list[tuple[str, _Buffer]]:
    """Every buffer in the order of the kernel's parameters, with its name."""
    arrays: list[tuple[np.ndarray, int]] = []
    for x, (shape, strides, ndim) in zip(inputs, kernel.shape_info, strict=True):
        arrays.append((x, setting.offset * x.itemsize))
        if x.ndim:
            elements = [stride // x.itemsize for stride in x.strides]
            arrays += [(np.array(x.shape, np.int32), 0)] if shape else []
            arrays += [(np.array(elements, np.int64), 0)] if strides else []
            arrays += [(np.array(x.ndim, np.int32), 0)] if ndim else []
    buffers = []
    for array, offset in arrays:
        buffer = _Buffer(array.nbytes, setting.other_poison, offset)
        buffer.data[:] = np.frombuffer(array.tobytes(), np.uint8)
        buffers.append(buffer)
    for shape, dtype in zip(kernel.output_shapes, kernel.output_dtypes, strict=True):
        nbytes = math.prod(shape) * numpy_dtype(dtype).itemsize
        buffers.append(_Buffer(nbytes, setting.poison))
    return list(zip(_buffer_names(kernel), buffers, strict=True))


def _buffer_names(kernel: Kernel) -> list[str]:
    found = parameters(kernel.name, kernel.source)
    return [p["name"] for p in found if p["attribute"] == "buffer"]


def _output_names(kernel: Kernel) -> list[str]:
    return _buffer_names(kernel)[-len(kernel.output_shapes) :]


def _check_sizes(kernel: Kernel) -> None:
    if min(*kernel.grid, *kernel.threadgroup) < 1:
        raise EmulationError(
            f"{kernel.name}: a grid of {kernel.grid} by {kernel.threadgroup}"
        )
    if math.prod(kernel.threadgroup) > _MAX_THREADS:
        raise EmulationError(
            f"{kernel.name}: {math.prod(kernel.threadgroup)} threads in a threadgroup, "
            f"but Metal allows {_MAX_THREADS}"
        )


def _check_written(name: str, outputs: list[np.ndarray]) -> None:
    """An element that holds each run's own poison was written by none."""
    unwritten = np.ones(outputs[0].size, bool)
    for setting, output in zip(SETTINGS, outputs, strict=True):
        raw = output.reshape(-1).view(np.uint8).reshape(-1, output.itemsize)
        unwritten &= (raw == setting.poison).all(axis=1)
    if unwritten.any():
        raise EmulationError(
            f"{unwritten.sum()} of {unwritten.size} elements of `{name}` are never "
            f"written, the first at {int(unwritten.argmax())}"
        )


def _disagreement(
    kernel: Kernel,
    inputs: Sequence[np.ndarray],
    setting: Setting,
    output: int,
    first_run: list[np.ndarray],
) -> str:
    """Tells a race from a read of memory that holds nothing."""
    same_order = Setting("forward", setting.poison, setting.offset)
    again = _run_once(kernel, inputs, same_order)[output]
    name = _output_names(kernel)[output]
    if again.tobytes() == first_run[output].tobytes():
        return f"{kernel.name}: `{name}` depends on the order of threads"
    return (
        f"{kernel.name}: `{name}` depends on memory outside a buffer or uninitialized"
    )


_asan_poison = getattr(ctypes.CDLL(None), "__asan_poison_memory_region", None)
_asan_unpoison = getattr(ctypes.CDLL(None), "__asan_unpoison_memory_region", None)


def _forbid(address: int, size: int) -> None:
    if _asan_poison is not None:
        _asan_poison(ctypes.c_void_p(address), ctypes.c_size_t(size))


def _allow(address: int, size: int) -> None:
    if _asan_unpoison is not None:
        _asan_unpoison(ctypes.c_void_p(address), ctypes.c_size_t(size))
