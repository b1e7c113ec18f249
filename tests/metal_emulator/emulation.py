"""A world in which MLX has a GPU: Lucid's kernels run in the emulator."""

from collections.abc import Callable, Iterator
import contextlib
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from lucid import _device
from lucid.metal import guard, launch
import mlx.core as mx
import numpy as np

from . import address_spaces
from .capture import Kernel, capture
from .run import run

_RUN = launch.run
# What the guard found of kernels in the emulator, which is not what a GPU would tell.
verdicts: guard.Verdicts = {}


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel, and the arrays that it was given."""

    name: str
    template: dict[str, Any]
    kernel: Kernel
    inputs: list[np.ndarray]


@dataclass
class Emulation:
    """What ran so far: launches, and the twins of kernels where MLX was tracing.

    `checks` are launches by which the guard tried kernels before their first use in
    this process.
    """

    launches: list[Launch] = field(default_factory=list)
    checks: list[Launch] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The kernels that were launched, in order."""
        return [record.name for record in self.launches]

    def type_errors(self) -> list[str]:
        """What the second front end says of every specialization that ran."""
        kernels = {record.kernel.source: record.kernel for record in self.launches}
        return [
            f"{kernel.name}: {error}"
            for source, kernel in kernels.items()
            for error in address_spaces.check(source)
        ]


@contextlib.contextmanager
def emulated_metal() -> Iterator[Emulation]:
    """Lucid believes in a GPU, and its kernels run in the emulator.

    A kernel runs when it is called, so its inputs are evaluated then. Where that is
    impossible, in a function that MLX compiles, its twin runs instead. The guard tries
    kernels as on a GPU, on arrays of its own, which always have values.

    Example:
        >>> from lucid.metal import padding
        >>> x = mx.ones((1, 3, 3, 3, 4))
        >>> with emulated_metal() as emulation:
        ...     y = padding.pad(x, ((1, 1), (0, 0), (0, 0)), "circular")
        >>> y.shape, emulation.names
        ((1, 5, 3, 3, 4), ['pad'])
    """
    emulation = Emulation()
    with contextlib.ExitStack() as stack:
        for target, name, new in (
            (launch, "run", _emulated_run(emulation)),
            (guard, "run_kernel", _kernel_or_twin(emulation)),
            (guard, "verdicts", verdicts),
            (guard, "calls", {}),
            *((_device, name, answer) for name, answer in _device_answers().items()),
        ):
            stack.enter_context(mock.patch.object(target, name, new))
        yield emulation


def _emulated_run(emulation: Emulation) -> Callable[..., mx.array]:
    def emulated(
        name: str, inputs: dict[str, mx.array], template: dict[str, Any], *rest, **sizes
    ) -> mx.array:
        def call(*arrays: mx.array) -> mx.array:
            named = dict(zip(inputs, arrays, strict=True))
            return _RUN(name, named, template, *rest, **sizes)

        kernel = capture(call, list(inputs.values()))
        arrays = [_to_numpy(x) for x in inputs.values()]
        records = emulation.checks if guard.is_checking() else emulation.launches
        records.append(Launch(name, dict(template), kernel, arrays))
        (output,) = run(kernel, arrays)
        return _to_mlx(output, kernel.output_dtypes[0])

    return emulated


def _kernel_or_twin(emulation: Emulation) -> Callable[..., Any]:
    def chosen(function: guard.Guarded, arguments: tuple[Any, ...]) -> Any:
        if _have_values([x for x in arguments if isinstance(x, mx.array)]):
            return function.kernel(*arguments)
        emulation.twins.append(function.kernel.__name__)
        return function.twin(*arguments)

    return chosen


def _have_values(arrays: list[mx.array]) -> bool:
    """False of the placeholders of a trace."""
    try:
        mx.eval(arrays)
    except (ValueError, RuntimeError):
        return False
    return True


def _to_numpy(x: mx.array) -> np.ndarray:
    return np.ascontiguousarray(x.view(mx.uint16) if x.dtype == mx.bfloat16 else x)


def _to_mlx(x: np.ndarray, dtype: str) -> mx.array:
    array = mx.array(x)
    return array.view(mx.bfloat16) if dtype == "bfloat16" else array


def _device_answers() -> dict[str, Callable[..., Any]]:
    """A GPU is there and the default; MLX itself goes on computing on the CPU."""
    really_available, really_running_on = _device.available, _device.running_on
    gpu = mx.Device(mx.gpu)
    entered = [gpu]

    def available(device: mx.Device) -> bool:
        return device == gpu or really_available(device)

    @contextlib.contextmanager
    def running_on(device: Any) -> Iterator[None]:
        resolved = _device.resolve(device)
        if resolved is None:
            resolved = entered[-1]
        entered.append(resolved)
        try:
            with really_running_on(None if resolved == gpu else resolved):
                yield
        finally:
            entered.pop()

    return {
        "available": available,
        "on_gpu": lambda: entered[-1] == gpu,
        "has_metal": lambda: True,
        "running_on": running_on,
    }
