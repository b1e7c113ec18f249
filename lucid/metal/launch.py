"""Launching the Metal kernels of `kernels/*.metal`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
import contextvars
from dataclasses import dataclass
import functools
from importlib import resources
import math
from typing import Any

from lucid._types import dtype_name
import mlx.core as mx

# Threads of a threadgroup, at most: what a kernel gets even if it fills its registers.
LARGEST_GROUP = 256

_KERNELS = resources.files("lucid.metal") / "kernels"

Template = dict[str, int | bool | mx.Dtype]


@dataclass(frozen=True)
class Specialization:
    """What the source that MLX generates for a launch depends on.

    Args:
        name: of the kernel.
        texts: the kernel's file, and what all kernels share.
        template: constants of the source, in order.
        inputs: name, dtype, whether it has dimensions, and whether it has fewer than
            eight elements, which MLX then puts in constant memory.
        threads: of a threadgroup, where they are more than every kernel gets.
    """

    name: str
    texts: tuple[str, str]
    template: tuple[tuple[str, Any], ...]
    inputs: tuple[tuple[str, mx.Dtype, bool, bool], ...]
    threads: int

    def __str__(self) -> str:
        constants = ", ".join(
            f"{name}={dtype_name(value) if isinstance(value, mx.Dtype) else value}"
            for name, value in self.template
        )
        small = [name for name, _, _, few in self.inputs if few]
        return f"{self.name}<{constants}> with {', '.join(small) or 'none'} constant"


_largest_group = contextvars.ContextVar("largest_group", default=LARGEST_GROUP)
# While set, launches are noted in it and not made.
_noted: contextvars.ContextVar[list[Specialization] | None] = contextvars.ContextVar(
    "noted", default=None
)
# Constants, by kernel, that a launch is given instead of its own.
_replaced: contextvars.ContextVar[dict[str, Template]] = contextvars.ContextVar(
    "replaced",
    default={},  # noqa: B039  nobody changes it
)


def launch(
    name: str,
    inputs: dict[str, mx.array],
    template: Template,
    threads: tuple[int, int, int],
    shape: tuple[int, ...],
    dtype: mx.Dtype,
) -> mx.array:
    """The output of one Metal kernel, an array of `shape` and `dtype`.

    Args:
        name: a file of `kernels/`, without its ending.
        inputs: the arrays, by their names in the source; made row-contiguous.
        template: the constants that the source is compiled with.
        threads: how many along x, y and z.
        shape: the output's shape.
        dtype: the output's dtype.
    """
    replaced = _replaced.get().get(name, {})
    template = {key: replaced.get(key, value) for key, value in template.items()}
    noted = _noted.get()
    if noted is None:
        return run(name, inputs, template, threads, shape, dtype)
    group = math.prod(threadgroup(threads))
    noted.append(
        Specialization(
            name,
            (source(name), source("common")),
            tuple(template.items()),
            tuple((k, x.dtype, x.ndim > 0, x.size < 8) for k, x in inputs.items()),
            group if group > LARGEST_GROUP else 0,
        )
    )
    return mx.zeros(shape, dtype)


def run(
    name: str,
    inputs: dict[str, mx.array],
    template: Template,
    threads: tuple[int, int, int],
    shape: tuple[int, ...],
    dtype: mx.Dtype,
) -> mx.array:
    """`launch` as MLX has it; the tests' emulator takes the place of this one."""
    (out,) = compiled(name, tuple(inputs))(
        inputs=list(inputs.values()),
        template=list(template.items()),
        grid=threads,
        threadgroup=threadgroup(threads),
        output_shapes=[shape],
        output_dtypes=[dtype],
    )
    return out


def specializations(
    kernel: Callable[..., Any], *arguments: Any
) -> tuple[Specialization, ...]:
    """What `kernel(*arguments)` would launch. Nothing runs."""
    token = _noted.set([])
    try:
        kernel(*arguments)
        return tuple(_noted.get() or ())
    finally:
        _noted.reset(token)


@contextlib.contextmanager
def replacing(constants: dict[str, Template]) -> Iterator[None]:
    """Launches get these constants, by kernel, where their template has them."""
    token = _replaced.set(constants)
    try:
        yield
    finally:
        _replaced.reset(token)


@functools.cache
def source(name: str) -> str:
    """The text of `kernels/<name>.metal`."""
    return (_KERNELS / f"{name}.metal").read_text()


@functools.cache
def compiled(name: str, input_names: tuple[str, ...]) -> Callable[..., list[mx.array]]:
    kernel: Any = mx.fast.metal_kernel(
        name=f"lucid_{name}",
        input_names=input_names,
        output_names=["out"],
        source=source(name),
        header=source("common"),
    )
    return kernel


def threadgroup(threads: tuple[int, int, int]) -> tuple[int, int, int]:
    """As many threads as fit, along x first: neighbors in memory run together."""
    largest = _largest_group.get()
    x = min(threads[0], largest)
    y = min(threads[1], largest // x)
    return x, y, min(threads[2], largest // (x * y))


@contextlib.contextmanager
def groups_of(threads: int) -> Iterator[None]:
    """Launches ask for groups of up to this many threads; MLX may refuse them."""
    token = _largest_group.set(threads)
    try:
        yield
    finally:
        _largest_group.reset(token)


@functools.lru_cache(maxsize=1024)
def integers(*values: int) -> mx.array:
    """A kernel's int32 argument. Below eight numbers MLX puts it in constant memory."""
    return mx.array(values, mx.int32)
