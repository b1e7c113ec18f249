"""What an operation multiplies and holds, for `lucid.summary`."""

from __future__ import annotations

import math
from typing import Any

from lucid.nn.summary import LayerSummary
from lucid.program.graph import Node, Ref
import mlx.core as mx

_NOT_TRAINED = ("running_mean", "running_var")


def summary_row(
    node: Node, members: dict[str, str], arguments: dict[str, Any], output: Any
) -> LayerSummary | None:
    """The row of an operation that has parameters or multiplies; None for others.

    Args:
        node: the operation.
        members: from a value's name to the dotted name of the module's array.
        arguments: the operation's, with values in place of names.
        output: what it made.
    """
    held = {
        key: members[value.name]
        for key, value in node.arguments.items()
        if isinstance(value, Ref) and value.name in members and key not in _NOT_TRAINED
    }
    work = multiply_adds(node.functional, arguments, output)
    if not isinstance(output, mx.array) or node.in_place or not (held or work):
        return None
    return LayerSummary(
        name=next(iter(held.values())).rpartition(".")[0] if held else node.outputs[0],
        type=node.target.split(".")[1],
        output_shape=output.shape,
        parameters=sum(arguments[key].size for key in held),
        multiply_adds=work,
        activation_bytes=output.nbytes,
    )


def multiply_adds(target: str, arguments: dict[str, Any], output: Any) -> int:
    """Of convolutions, linear maps and products of matrices; 0 of others."""
    name = target.split(".")[1] if target.startswith("aten.") else ""
    if name in ("conv3d", "convolution", "linear"):
        weight = arguments["weight"]
        if name == "convolution" and arguments["transposed"]:
            return _transposed(arguments)
        return output.size * weight.size // weight.shape[0]
    if name == "conv_transpose3d":
        return _transposed(arguments)
    if name == "einsum":
        return _einsum(arguments["equation"], arguments["tensors"])
    if name in ("matmul", "mm", "bmm"):
        return output.size * arguments["self"].shape[-1]
    if name == "addmm":
        return output.size * arguments["mat1"].shape[-1]
    if name == "scaled_dot_product_attention":
        query, key = arguments["query"], arguments["key"]
        rows = query.size // query.shape[-1] * key.shape[-2]
        return rows * (query.shape[-1] + arguments["value"].shape[-1])
    return 0


def _transposed(arguments: dict[str, Any]) -> int:
    weight = arguments["weight"]
    return arguments["input"].size * weight.size // weight.shape[0]


def _einsum(equation: str, tensors: list[mx.array]) -> int:
    """The product of the lengths of every letter."""
    lengths: dict[str, int] = {}
    inputs = equation.replace(" ", "").split("->")[0].split(",")
    for letters, tensor in zip(inputs, tensors, strict=True):
        lengths |= dict(zip(letters, tensor.shape, strict=False))
    return math.prod(lengths.values())
