"""Classes as vectors: one-hot, and learned ones."""

from __future__ import annotations

from lucid._types import (
    Tensor,
    check_allocatable,
    check_array,
    check_float_dtype,
    dtype_name,
    flag,
    integer,
    shown,
)
from lucid.ops import embedding as ops
import mlx.core as mx


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Vectors that are 1 at their class and 0 elsewhere, along a new last axis.

    Args:
        tensor: class indices, of an integer dtype. An invalid index becomes a row of
            zeros: checking would evaluate the array.
        num_classes: number of classes; -1 evaluates the array and takes as many as
            its largest index needs.

    Shape:
        - tensor: any
        - output: (..., num_classes), int64

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: no classes, or -1 where there is no index.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> F.one_hot(lucid.tensor([0, 2])).tolist()
        [[1, 0, 0], [0, 0, 1]]
    """
    check_indices("tensor", tensor)
    count = integer("num_classes", num_classes)
    if count == -1:
        if not tensor.size:
            raise ValueError("`num_classes` must be given where `tensor` is empty.")
        count = integer("tensor", tensor.max()) + 1
    if count < 1:
        raise ValueError(f"`num_classes` (={count}) must be at least 1.")
    check_allocatable("`num_classes`", (*tensor.shape, count), 8)
    return (tensor[..., None] == mx.arange(count)).astype(mx.int64)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of `weight` at the indices.

    Args:
        input: indices below V, of an integer dtype. At invalid indices, the output is
            NaN: checking would evaluate the array.
        weight: a row for each index.
        padding_idx: an index whose row has no gradient.
        max_norm: must be None: PyTorch's changes the weight at each look-up.
        norm_type: accepted as in PyTorch; belongs to `max_norm`.
        scale_grad_by_freq: whether a row's gradient is divided by how often it is
            looked up in this call.
        sparse: must be False: MLX has no sparse gradients.

    Shape:
        - input: any
        - weight: (V, E)
        - output: (..., E)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a `padding_idx` that is not a row; `max_norm` or `sparse`.
    """
    check_indices("input", input)
    check_array("weight", weight)
    check_float_dtype("weight", weight.dtype)
    if weight.ndim != 2 or (weight.shape[0] == 0 and input.size):
        raise ValueError(
            f"`weight` must be (V, E), V at least 1, got shape {weight.shape}."
        )
    check_embedding_options(max_norm, sparse)
    if padding_idx is not None:
        padding_idx = check_padding_idx(padding_idx, weight.shape[0])
    by_frequency = flag("scale_grad_by_freq", scale_grad_by_freq)
    return ops.embedding(input, weight, padding_idx, by_frequency)


def check_indices(name: str, value: Tensor) -> None:
    """Refuse what does not hold indices."""
    check_array(name, value)
    if not mx.issubdtype(value.dtype, mx.integer):
        raise TypeError(
            f"`{name}` (={dtype_name(value.dtype)}) must be of an integer dtype."
        )


def check_padding_idx(padding_idx: int, count: int) -> int:
    """A row, counted from the front; negative ones count from the end."""
    index = integer("padding_idx", padding_idx)
    if not -count <= index < count:
        raise ValueError(
            f"`padding_idx` (={index}) must be within `num_embeddings` (={count})."
        )
    return index % count


def check_embedding_options(max_norm: float | None, sparse: bool) -> None:
    """Refuse what a look-up does not do here."""
    if max_norm is not None:
        raise ValueError(
            f"`max_norm` (={shown(max_norm)}) must be None: a look-up changes "
            "no weight."
        )
    if flag("sparse", sparse):
        raise ValueError("`sparse` must be False: MLX has no sparse gradients.")
