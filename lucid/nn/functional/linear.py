"""Linear maps and unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
import math

from lucid._types import (
    Tensor,
    axis_of,
    check_array,
    check_float_dtype,
    dtype_name,
    real,
    shown,
)
import mlx.core as mx


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias, over the last axis.

    Args:
        input: float32, float16 or bfloat16.
        weight: one row for each output, of the same dtype.
        bias: one number for each output, of the same dtype.

    Shape:
        - input: (..., I)
        - weight: (O, I)
        - bias: (O,)
        - output: (..., O)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: shapes that do not fit.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> F.linear(lucid.ones(2, 3), lucid.ones(4, 3)).shape
        (2, 4)
    """
    check_array("input", input)
    check_float_dtype("input", input.dtype)
    check_array("weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"`weight` must be (O, I), got shape {weight.shape}.")
    outputs, inputs = weight.shape
    if input.ndim == 0 or input.shape[-1] != inputs:
        raise ValueError(
            f"`input` must be (..., {inputs}), `weight` being {weight.shape}; got "
            f"shape {input.shape}."
        )
    _check_dtype("weight", weight, input)
    if bias is None:
        return input @ weight.T
    check_array("bias", bias)
    if bias.shape != (outputs,):
        raise ValueError(f"`bias` must have shape ({outputs},), got {bias.shape}.")
    _check_dtype("bias", bias, input)
    if inputs == 0:  # MLX's addmm cannot infer a shape from an empty array
        return mx.broadcast_to(bias, (*input.shape[:-1], outputs))
    return mx.addmm(bias, input, weight.T)


def normalize(
    input: Tensor,
    p: float = 2.0,
    dim: int | Sequence[int] = 1,
    eps: float = 1e-12,
) -> Tensor:
    """input / max(norm, eps), the norm being (sum |x|^p)^(1/p) along `dim`.

    Args:
        input: float32, float16 or bfloat16; norms are computed in float32.
        p: the norm's exponent; `math.inf` for the largest |x|.
        dim: the axis or axes of the vectors.
        eps: the smallest divisor.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: an axis that the input does not have.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> F.normalize(lucid.tensor([[3.0, 4.0]]))
        array([[0.6, 0.8]], dtype=float32)
    """
    check_array("input", input)
    check_float_dtype("input", input.dtype)
    dims = dim if isinstance(dim, tuple | list) else (dim,)
    axes = [axis_of("dim", axis, input.ndim) for axis in dims]
    if len(set(axes)) < len(axes):
        raise ValueError(f"`dim` (={shown(dim)}) names an axis twice.")
    x = input.astype(mx.float32)
    norm = _norm(x, real("p", p), axes)
    return (x / mx.maximum(norm, real("eps", eps))).astype(input.dtype)


def _norm(x: Tensor, p: float, axes: list[int]) -> Tensor:
    """The vectors' norms, whose slope at 0 is 0."""
    size = mx.abs(x)
    if abs(p) == math.inf:
        reduce = mx.max if p > 0 else mx.min
        return reduce(size, axes, keepdims=True)
    if p == 0:
        return (x != 0).astype(x.dtype).sum(axes, keepdims=True)
    if p == 1:
        return size.sum(axes, keepdims=True)
    powers = x * x if p == 2 else size**p
    total = powers.sum(axes, keepdims=True)
    if p < 0:
        return total ** (1 / p)
    root = mx.where(total > 0, total, 1) ** (1 / p)
    return mx.where(total > 0, root, 0)


def _check_dtype(name: str, value: Tensor, input: Tensor) -> None:
    if value.dtype != input.dtype:
        raise TypeError(
            f"`{name}` (={dtype_name(value.dtype)}) must have the dtype of `input` "
            f"(={dtype_name(input.dtype)})."
        )
