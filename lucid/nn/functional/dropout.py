"""Dropout with PyTorch's arguments, drawn from MLX's random state."""

from __future__ import annotations

from lucid._types import Tensor, check_array, check_float_dtype, flag, real
from lucid.layout import in_memory_order
import mlx.core as mx

# What SELU tends to far below zero: -scale * alpha (Klambauer et al., 2017).
_SATURATED = -1.7580993408473766


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """In training, 0 with probability `p`, else x / (1 - p).

    Srivastava et al. (2014).

    Args:
        input: float32, float16 or bfloat16, of any shape.
        p: probability of an entry to be dropped.
        training: whether to apply dropout.
        inplace: accepted as in PyTorch; the result is always a new array.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a `p` that is not a probability.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> F.dropout(lucid.ones(3), p=1.0)
        array([0, 0, 0], dtype=float32)
    """
    p = float(check_probability(p))
    if not _drops(input, p, training):
        return input
    return in_memory_order(lambda x, _: x * _kept(x.shape, p, x.dtype), input)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """In training, whole channels 0 with probability `p`, else x / (1 - p).

    Tompson et al. (2015).

    Args:
        input: float32, float16 or bfloat16.
        p: probability of a channel of a volume to be dropped.
        training: whether to apply dropout.
        inplace: accepted as in PyTorch; the result is always a new array.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: as the input

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a `p` that is not a probability; an input that is not a volume.
    """
    check_array("input", input)
    if input.ndim not in (4, 5):
        raise ValueError(
            "`input` must be 5-D (N, C, D, H, W) or 4-D (C, D, H, W), "
            f"got shape {input.shape}."
        )
    p = float(check_probability(p))
    if not _drops(input, p, training):
        return input
    kept = _kept((*input.shape[:-3], 1, 1, 1), p, input.dtype)
    if input.ndim == 4:
        return input * kept

    def drop(x: Tensor, channel_axis: int) -> Tensor:
        return x * (kept if channel_axis == 1 else kept.transpose(0, 2, 3, 4, 1))

    return in_memory_order(drop, input)


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout that keeps mean 0 and variance 1, for networks of SELU.

    In training, dropped entries become SELU's limit for large negative x, and all
    entries are then scaled and shifted. Klambauer et al. (2017).

    Args:
        input: float32, float16 or bfloat16, of any shape.
        p: probability of an entry to be dropped.
        training: whether to apply dropout.
        inplace: accepted as in PyTorch; the result is always a new array.

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a `p` that is not a probability.
    """
    p = float(check_probability(p))
    if not _drops(input, p, training):
        return input
    if p == 1:
        return mx.zeros_like(input)
    scale = ((_SATURATED**2 * p + 1) * (1 - p)) ** -0.5
    shift = -_SATURATED * scale * p

    def drop(x: Tensor, _: int) -> Tensor:
        kept = mx.random.bernoulli(1 - p, x.shape)
        return mx.where(kept, x * scale + shift, _SATURATED * scale + shift)

    return in_memory_order(lambda x, axis: drop(x, axis).astype(x.dtype), input)


def check_probability(p: float) -> float:
    """Refuse what is no probability of dropping."""
    number = real("p", p)
    if not 0 <= number <= 1:
        raise ValueError(f"`p` (={p}) must be a probability, from 0 to 1.")
    return number


def _drops(input: Tensor, p: float, training: bool) -> bool:
    check_array("input", input)
    check_float_dtype("input", input.dtype)
    return p > 0 and flag("training", training)


def _kept(shape: tuple[int, ...], p: float, dtype: mx.Dtype) -> Tensor:
    """0 with probability p, else 1 / (1 - p)."""
    if p == 1:
        return mx.zeros(shape, dtype)
    kept = mx.random.bernoulli(1 - p, shape)
    return kept.astype(dtype) * mx.array(1 / (1 - p), dtype)
