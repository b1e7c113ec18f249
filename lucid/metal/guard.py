"""Checking a Metal kernel at its first use on a GPU, so that none gives wrong numbers.

Every function that launches kernels has a twin of MLX operations, and a way to say a
small problem for which MLX generates the same source:

    @guarded(twin=pad_ops, smaller=smaller_pads)
    def pad_kernel(x, sides, mode): ...

`smaller` takes the function's arguments (positional, hashable but for arrays) and
yields argument tuples, the smallest first; their arrays come from `draw`. The first two
are used that launch what the real call does: same kernels, template constants, dtypes,
and inputs of fewer than eight elements. One of them should differ in what is no
constant of the source, such as the stride of each axis: a kernel that passes is trusted
with any. The constant LARGE need not agree: small problems get that of the real call.

The function runs on both and is compared with its twin. If it agrees, the real call and
all others of the same source run the kernel; if it does not, or does not compile, they
run the twin, and a `MetalKernelWarning` says so. Only arrays of the guard's own are
evaluated, so all of this works while MLX traces a function, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
import contextvars
import functools
from importlib.metadata import PackageNotFoundError, version
import platform
import threading
from typing import Any
import warnings

from lucid import _device
from lucid.metal import launch
from lucid.metal.launch import Specialization
import mlx.core as mx
import numpy as np

# Of the largest value of an output. Another order of sums costs a tenth of it; an
# element that was left out or read twice costs many times more.
TOLERANCES = {mx.float32: 1e-4, mx.float16: 4e-3, mx.bfloat16: 3e-2}

# (function's name, what it launches) -> what is wrong with it, or None.
Verdicts = dict[tuple[str, tuple[Specialization, ...]], str | None]
verdicts: Verdicts = {}
# (function's name, its arguments with shapes for arrays) -> whether it may run.
calls: dict[tuple[str, tuple[Any, ...]], bool] = {}
_REMEMBERED = 4096  # calls
_PROBLEMS = 2  # small ones, for each source
_lock = threading.RLock()  # a check is made once, whichever thread comes first
_checking = contextvars.ContextVar("checking", default=False)


class MetalKernelWarning(RuntimeWarning):
    """A Metal kernel is wrong on this GPU, and MLX's operations replace it."""


def guarded(
    *, twin: Callable[..., Any], smaller: Callable[..., Iterable[tuple[Any, ...]]]
) -> Callable[[Callable[..., Any]], Guarded]:
    """Has a function that launches Metal kernels checked before it is first used.

    Args:
        twin: the same function, made of MLX operations.
        smaller: the arguments of small problems that might launch the same.
    """
    return lambda kernel: Guarded(kernel, twin, smaller)


class Guarded:
    """A function that launches Metal kernels; or its twin, where they are wrong.

    Attributes:
        kernel: the function itself, unchecked.
        twin: the same, made of MLX operations.
    """

    def __init__(
        self,
        kernel: Callable[..., Any],
        twin: Callable[..., Any],
        smaller: Callable[..., Iterable[tuple[Any, ...]]],
    ) -> None:
        functools.update_wrapper(self, kernel)
        self.kernel, self.twin, self.smaller = kernel, twin, smaller
        self.name = f"{kernel.__module__.rpartition('.')[2]}.{kernel.__name__}"

    def __call__(self, *arguments: Any) -> Any:
        if _device.trusts_metal() or self.is_right(arguments):
            return run_kernel(self, arguments)
        return self.twin(*arguments)

    def is_right(self, arguments: tuple[Any, ...]) -> bool:
        """Whether a call may launch its kernels, checked the first time."""
        shapes = tuple(
            (x.shape, x.dtype) if isinstance(x, mx.array) else x for x in arguments
        )
        call = self.name, shapes
        right = calls.get(call)
        if right is None:
            right = self._verdict(arguments) is None
            if len(calls) >= _REMEMBERED:
                calls.clear()
            calls[call] = right
        return right

    def _verdict(self, arguments: tuple[Any, ...]) -> str | None:
        """What is wrong with what a call launches, from the first time it was asked."""
        launched = self.launches(arguments)
        key = self.name, launched
        with _lock:
            if key not in verdicts:
                verdicts[key] = fault = self._fault(arguments, launched)
                if fault is not None:
                    _warn(launched, fault)
            return verdicts[key]

    def known_fault(self, arguments: Sequence[Any]) -> str | None:
        """What is wrong with what a call launches, if it was checked and failed."""
        return verdicts.get((self.name, self.launches(arguments)))

    def launches(self, arguments: Sequence[Any]) -> tuple[Specialization, ...]:
        """What a call would launch."""
        stand_ins = [
            mx.zeros(x.shape, x.dtype) if isinstance(x, mx.array) else x
            for x in arguments
        ]
        return launch.specializations(self.kernel, *stand_ins)

    def _fault(
        self, arguments: Sequence[Any], launched: tuple[Specialization, ...]
    ) -> str | None:
        """The same, found on a small problem."""
        # An error of the caller's earlier work is raised here, not taken for a fault.
        mx.synchronize()
        with _device.running_on("cpu"):
            mx.synchronize()
        large = {
            s.name: {k: v for k, v in s.template if k == "LARGE"} for s in launched
        }
        token, tried = _checking.set(True), 0
        try:
            with launch.replacing(large):
                for problem in self.smaller(*arguments):
                    if self.launches(problem) == launched:
                        fault, tried = self._compare(problem), tried + 1
                        if fault is not None or tried == _PROBLEMS:
                            return fault
        except Exception as error:  # noqa: BLE001  whatever Metal's compiler says
            return f"{type(error).__name__}: {error}"
        finally:
            _checking.reset(token)
        if tried:
            return None
        return "no small problem launches the same, so that it cannot be checked"

    def _compare(self, problem: tuple[Any, ...]) -> str | None:
        # One after the other: a launch that fails leaves nobody waiting for it.
        mx.eval([x for x in problem if isinstance(x, mx.array)])
        got = run_kernel(self, problem)
        mx.eval(got)
        # On a CPU: some GPUs multiply matrices of float32 with fewer digits.
        with _device.running_on("cpu"):
            want = self.twin(*problem)
            mx.eval(want)
        for a, b in zip(_several(got), _several(want), strict=True):
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                return f"{a.shape} {a.dtype} instead of {b.shape} {b.dtype}"
            error, allowed = distance(a, b), TOLERANCES.get(a.dtype, 0.0)
            if not error <= allowed:  # a NaN is not
                return f"wrong by {error:.1e} of the largest value"
        return None


def is_checking() -> bool:
    """Whether a kernel that is called now is on trial."""
    return _checking.get()


def run_kernel(function: Guarded, arguments: tuple[Any, ...]) -> Any:
    """Here all kernels pass; the tests' emulator takes the place of this."""
    return function.kernel(*arguments)


def draw(
    shape: Sequence[int],
    dtype: mx.Dtype,
    seed: int = 0,
    low: float = -1.0,
    high: float = 1.0,
) -> mx.array:
    """Random numbers for a small problem, with a key of their own."""
    return mx.random.uniform(low, high, shape, key=mx.random.key(seed)).astype(dtype)


def distance(got: mx.array, want: mx.array) -> float:
    """The largest difference, of the largest value."""
    a, b = (np.array(array.astype(mx.float32)) for array in (got, want))
    return float(np.abs(a - b).max() / (np.abs(b).max() or 1.0))


def machine() -> str:
    """Chip, system and versions, for a report."""
    info = mx.device_info(mx.gpu) if mx.is_available(mx.gpu) else {}
    chip = info.get("device_name", platform.processor() or platform.machine())
    return (
        f"{chip}, macOS {platform.mac_ver()[0]}, Python {platform.python_version()}, "
        f"MLX {_version('mlx')}, Lucid {_version('lucid-mlx')}"
    )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # run from its sources
        return "(from source)"


def _several(outputs: Any) -> list[mx.array]:
    return [outputs] if isinstance(outputs, mx.array) else list(outputs)


def _warn(launched: tuple[Specialization, ...], fault: str) -> None:
    kernels = "; ".join(map(str, launched))
    names = ", ".join(dict.fromkeys(s.name for s in launched))
    warnings.warn(
        f"Lucid's Metal kernel {names} failed its check on this GPU. MLX's operations "
        "take its place from now on: results are right, and slower. Please report "
        f"this line:\n[{machine()}] {kernels}: {fault}",
        MetalKernelWarning,
        stacklevel=5,
    )
