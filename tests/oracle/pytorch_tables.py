"""PyTorch's own tables of sample calls, and of calls that must fail.

`OpInfo` and `ModuleInfo` come in PyTorch's wheel. What Lucid leaves out of them is
listed here, each with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import sys
import types
from typing import Any
import unittest

from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import torch

# The tables import it, for tests of printed text that are not made here.
sys.modules.setdefault("expecttest", types.ModuleType("expecttest"))
sys.modules["expecttest"].TestCase = unittest.TestCase  # pyright: ignore

from torch.testing._internal import (  # noqa: E402
    common_methods_invocations,
    common_modules,
)

DEPRECATED = ("size_average", "reduce", "_stacklevel", "device", "dtype")


def converted(value: Any, tensor: Callable[[torch.Tensor], Any]) -> Any:
    """A copy of arguments with `tensor` of each tensor in them."""
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if isinstance(value, dict):
        return {k: converted(v, tensor) for k, v in value.items()}
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, list | tuple):
        return type(value)(converted(v, tensor) for v in value)
    return value


def double(tensor: torch.Tensor) -> torch.Tensor:
    copy = tensor.detach().clone()
    return copy.double() if copy.is_floating_point() else copy


def to_mlx(tensor: torch.Tensor) -> mx.array:
    return mx.array(tensor.detach().numpy())


def tensors_in(value: Any) -> list[Any]:
    """The floating tensors or arrays somewhere in arguments, in order."""
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, mx.array):
        return [value] if mx.issubdtype(value.dtype, mx.floating) else []
    if isinstance(value, dict):
        return tensors_in(list(value.values()))
    if isinstance(value, list | tuple):
        return [found for entry in value for found in tensors_in(entry)]
    return []


# What Lucid leaves out: of a function or module, which samples, and why.
NOT_SAMPLED: dict[str, tuple[Callable[..., bool], str]] = {
    **dict.fromkeys(
        ("softmax", "log_softmax", "normalize", "Softmax", "LogSoftmax"),
        (lambda x, *_, **__: x.ndim == 0, "no axes, and so no axis 0"),
    ),
    **dict.fromkeys(
        ("interpolate", "grid_sample"),
        (lambda x, *_, **__: x.ndim != 5, "volumes only"),
    ),
    **dict.fromkeys(
        ("dropout", "dropout3d", "alpha_dropout"),
        (
            lambda *_, p=0.5, training=True, **__: training and 0 < p < 1,
            "random: the distribution is tested elsewhere",
        ),
    ),
    "arange": (lambda start, *_, **__: isinstance(start, bool), "a bool is no number"),
    "cat": (
        lambda xs, *_, **__: len({x.ndim for x in xs}) > 1,
        "arrays of no entries that fit any shape",
    ),
    "batch_norm": (lambda x, *_, **__: x.ndim == 1, "an array without channels"),
    "embedding": (
        lambda *_, sparse=False, max_norm=None, **__: sparse or max_norm,
        "sparse gradients, which MLX has not, and a look-up that changes the weight",
    ),
}
EVERY_SAMPLE = (lambda *_, **__: False, "")
NOT_COMPARED = {
    ("softmax", "with_dtype"): "the result in another dtype",
    ("log_softmax", "with_dtype"): "the result in another dtype",
    ("silu", "complex"): "complex numbers",
    ("interpolate", "linear"): "volumes only",
    ("interpolate", "bilinear"): "volumes only",
    ("interpolate", "bicubic"): "volumes only",
}
# How many of its tensors PyTorch differentiates by: not weights, not statistics.
FIRST_ALONE = {
    "nll_loss": 1,
    "cross_entropy": 1,
    "binary_cross_entropy": 2,
    "binary_cross_entropy_with_logits": 2,
    "batch_norm": 1,
    "instance_norm": 1,
}
# Calls that PyTorch refuses and Lucid does not, by what PyTorch says.
NOT_REFUSED = {
    "inconsistent with step sign": "an empty range, as in Python, NumPy and MLX",
    "index out of range": "nothing is computed yet; F.embedding says what it does",
}
# PyTorch's table gives these arguments the other way round.
OURS = {"embedding": lambda weight, input, **kw: F.embedding(input, weight, **kw)}


# Of `lucid` itself, the functions that make or join tensors.
OF_TENSORS = ("arange", "cat", "full", "linspace", "ones_like", "stack", "zeros_like")


def name_of(op: Any) -> str:
    return op.name.removeprefix("nn.functional.")


OPS = [
    op
    for op in common_methods_invocations.op_db
    if (name_of(op) in F.__all__ or op.name in OF_TENSORS)
    and (name_of(op), op.variant_test_name) not in NOT_COMPARED
]
MODULES = [m for m in common_modules.module_db if m.module_cls.__name__ in nn.__all__]


def kept(options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k not in DEPRECATED}


def shown(*arguments: Any) -> str:
    return str(
        converted(list(arguments), lambda t: f"{tuple(t.shape)} {str(t.dtype)[6:]}")
    )


def samples(op: Any) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    dtype = torch.int64 if name_of(op) == "one_hot" else torch.float32
    left_out = NOT_SAMPLED.get(name_of(op), EVERY_SAMPLE)[0]
    found = list(op.sample_inputs("cpu", dtype, requires_grad=False))
    # Max pooling has 576, every combination of eight options: every fifth has each.
    for sample in found[:: 5 if len(found) > 500 else 1]:
        args, options = [sample.input, *sample.args], kept(sample.kwargs)
        if not left_out(*args, **options):
            yield args, options
