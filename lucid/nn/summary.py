"""What a model would do to an input: shapes, parameters, work and memory by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import html
import itertools
from typing import Any

from lucid.nn._first_call import try_out
from lucid.nn._materialize import call_with_shapes, check_module
from lucid.nn._members import buffer_names, named_arrays, named_entries, named_tree
from lucid.nn.conv_transpose import ConvTranspose3d
from lucid.nn.embedding import Embedding
from lucid.nn.group_norm import LayerNorm
import mlx.core as mx
import mlx.nn
from mlx.utils import tree_flatten

_HEADER = ("layer", "type", "output shape", "parameters", "multiply-adds", "memory")
_NO_PRODUCTS = (mlx.nn.Embedding, mlx.nn.LayerNorm, Embedding, LayerNorm)
_TRANSPOSED = (
    mlx.nn.ConvTranspose1d,
    mlx.nn.ConvTranspose2d,
    mlx.nn.ConvTranspose3d,
)


@dataclass(frozen=True)
class LayerSummary:
    """One call of one layer."""

    name: str
    type: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """A model's layers in the order of their calls; prints as a table.

    Attributes:
        layers: for each call of a layer, its `name`, `type`, `output_shape`,
            `parameters`, `multiply_adds` and `activation_bytes`.
        parameters: number of parameters.
        trainable_parameters: number of those that are not frozen.
        multiply_adds: of all layers together.
        activation_bytes: memory of all outputs together.
    """

    layers: tuple[LayerSummary, ...]
    parameters: int
    trainable_parameters: int

    @property
    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        return sum(layer.activation_bytes for layer in self.layers)

    def _rows(self) -> list[tuple[str, ...]]:
        rows = [
            (
                layer.name,
                layer.type,
                str(layer.output_shape),
                f"{layer.parameters:,}",
                f"{layer.multiply_adds:,}",
                _bytes(layer.activation_bytes),
            )
            for layer in self.layers
        ]
        work, memory = f"{self.multiply_adds:,}", _bytes(self.activation_bytes)
        return [*rows, ("total", "", "", f"{self.parameters:,}", work, memory)]

    def __str__(self) -> str:
        rows = [_HEADER, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        rule = "-" * max(map(len, lines))
        frozen = self.parameters - self.trainable_parameters
        foot = f"trainable {self.trainable_parameters:,}, frozen {frozen:,}"
        return "\n".join((lines[0], rule, *lines[1:-1], rule, lines[-1], foot))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in _HEADER)
        *rows, total = (
            "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            for row in self._rows()
        )
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
            f"<tfoot><tr style='font-weight: bold'>{total}</tr></tfoot></table>"
        )


def summary(model: mlx.nn.Module, *inputs: Any, **kwargs: Any) -> Summary:
    """A table of each layer's output, parameters, multiply-adds and memory.

    Nothing is computed and the model does not change: lazy layers stay lazy.
    Multiply-adds are those of convolutions and linear maps, half of what PyTorch's flop
    counter says; norms, pools and interpolation are not counted. Memory is that of the
    outputs, which training keeps for the gradients.

    Args:
        model: a module of Lucid's or MLX's.
        inputs: the call's arguments: arrays, or shapes in place of arrays of the
            model's dtype.
        kwargs: likewise, by keyword.

    Returns:
        A Summary: a table as text and in notebooks, its numbers as attributes.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> model = nn.Sequential(nn.LazyConv3d(8, 3, padding=1), nn.ReLU())
        >>> print(lucid.summary(model, (1, 4, 16, 16, 16)))
        layer  type        output shape        parameters  multiply-adds     memory
        ---------------------------------------------------------------------------
        0      LazyConv3d  (1, 8, 16, 16, 16)         872      3,538,944  128.0 KiB
        1      ReLU        (1, 8, 16, 16, 16)           0              0  128.0 KiB
        ---------------------------------------------------------------------------
        total                                         872      3,538,944  256.0 KiB
        trainable 872, frozen 0
    """
    check_module(model)
    layers: list[LayerSummary] = []
    counts = (0, 0)
    kinds = {id(module): (module, type(module)) for _, module in named_tree(model)}

    def run() -> None:
        nonlocal counts
        _observe(model, layers.append)
        call_with_shapes(model, inputs, kwargs)
        counts = _count(model)

    try:
        try:
            try_out(run, model)
        finally:
            _set_kinds(kinds.values())
    finally:
        _set_kinds(kinds.values())  # again: an interrupt may have stopped the first
    return Summary(tuple(layers), *counts)


def _count(model: mlx.nn.Module) -> tuple[int, int]:
    """(parameters, trainable ones), shared ones once; buffers are no parameters."""
    sizes: dict[int, tuple[int, bool]] = {}
    for _, owner, name, array in named_arrays(model):
        if name not in buffer_names(owner):
            sizes[id(array)] = (array.size, name not in owner._no_grad)
    return (
        sum(size for size, _ in sizes.values()),
        sum(size for size, trained in sizes.values() if trained),
    )


def _observe(model: mlx.nn.Module, report: Callable[[LayerSummary], None]) -> None:
    """Have each module that holds arrays, or no other module, report its calls.

    MLX's modules have no hooks and Python looks `__call__` up on the class, so each is
    of a subclass of its own for the while.
    """
    kinds: dict[int, tuple[mlx.nn.Module, type]] = {}
    for name, module in named_tree(model):
        entries = [value for _, value in named_entries(module)]
        holds_arrays = any(isinstance(value, mx.array) for value in entries)
        report_operations = getattr(module, "report_operations", None)
        if report_operations is not None:  # an exported program
            report_operations(report)
        elif id(module) not in kinds and (holds_arrays or not entries):
            reporting = _reporting(type(module), name or "(model)", report)
            kinds[id(module)] = module, reporting
    _set_kinds(kinds.values())


def _set_kinds(kinds: Iterable[tuple[mlx.nn.Module, type]]) -> None:
    for module, kind in kinds:
        object.__setattr__(module, "__class__", kind)


def _reporting(kind: Any, name: str, report: Callable[[LayerSummary], None]) -> type:
    """A subclass whose instances report what each call returned."""
    calls = itertools.count()

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = kind.__call__(self, *args, **kwargs)
        buffers = buffer_names(self)
        arrays = [
            value
            for key, value in named_entries(self)
            if isinstance(value, mx.array) and key not in buffers
        ]
        outputs = _arrays(output)
        report(
            LayerSummary(
                name=name,
                type=kind.__name__,
                output_shape=outputs[0].shape if outputs else (),
                # A layer called again has the same parameters.
                parameters=sum(a.size for a in arrays) if next(calls) == 0 else 0,
                multiply_adds=_multiply_adds(self, _arrays((args, kwargs)), outputs),
                activation_bytes=sum(value.nbytes for value in outputs),
            )
        )
        return output

    return type(kind.__name__, (kind,), {"__call__": call})


def _arrays(tree: Any) -> list[mx.array]:
    leaves = (value for _, value in tree_flatten(tree))
    return [value for value in leaves if isinstance(value, mx.array)]


def _multiply_adds(
    layer: mlx.nn.Module, inputs: list[mx.array], outputs: list[mx.array]
) -> int:
    """Each output number costs one row of the weight (O, ...): linear, convolution."""
    weight = layer.get("weight")
    if weight is None or weight.ndim < 2 or isinstance(layer, _NO_PRODUCTS):
        return 0
    if isinstance(layer, ConvTranspose3d):  # each input number costs its taps
        return inputs[0].size * weight.size // weight.shape[0]
    if isinstance(layer, _TRANSPOSED):  # (O, ..., C)
        return inputs[0].size * weight.size // weight.shape[-1]
    return sum(value.size for value in outputs) * weight.size // weight.shape[0]


def _bytes(count: int) -> str:
    """1536 -> 1.5 KiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} B" if unit == "B" else f"{size:,.1f} {unit}"
