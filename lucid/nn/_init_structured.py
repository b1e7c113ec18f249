"""Initializers of weights that have a structure: orthogonal, identity, sparse."""

from __future__ import annotations

import math

from lucid._types import Tensor, check_floating, finite, positive
from lucid.nn._init_filling import (
    check_drawn,
    check_matrix,
    check_tensor,
    fill,
    not_negative,
)
import mlx.core as mx
import numpy as np


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with a random orthogonal matrix times `gain`.

    A tensor (O, ...) is taken as a matrix (O, product of the rest). Its rows are
    orthonormal, or its columns if it has more rows.

    Source: Saxe et al., 2013; made uniform as by Mezzadri, 2006.
    """
    check_drawn(tensor)
    factor = finite("gain", gain)
    if tensor.ndim < 2:
        raise ValueError(f"`tensor` must have 2 axes or more, got {tensor.shape}.")
    if tensor.size == 0:
        return tensor
    drawn = mx.random.normal((tensor.shape[0], tensor.size // tensor.shape[0]))
    is_wide = drawn.shape[0] < drawn.shape[1]
    q, r = mx.linalg.qr(drawn.T if is_wide else drawn, stream=mx.cpu)
    q = q * mx.sign(mx.diag(r))
    return fill(tensor, factor * (q.T if is_wide else q).reshape(tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution's weight so that it returns its input, channel by channel.

    Args:
        tensor: (O, I / groups, ...), with 1 to 3 kernel axes.
        groups: blocks of output channels, each with its own identity.
    """
    check_tensor(tensor)
    count = positive("groups", groups)
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"`tensor` must have 3, 4 or 5 axes, got {tensor.shape}.")
    if tensor.shape[0] % count:
        raise ValueError(
            f"`groups` (={count}) must divide the output channels (={tensor.shape[0]})."
        )
    of_group = tensor.shape[0] // count
    center = tuple(length // 2 for length in tensor.shape[2:])
    values = np.zeros(tensor.shape, np.float32)
    if values.size:
        for group in range(count):
            for channel in range(min(of_group, tensor.shape[1])):
                values[(group * of_group + channel, channel, *center)] = 1
    return fill(tensor, mx.array(values))


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity."""
    check_matrix(tensor)
    return fill(tensor, mx.eye(tensor.shape[0], tensor.shape[1]))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """Draw a matrix from N(0, std^2), with zeros at random rows of each column.

    Args:
        tensor: (rows, columns).
        sparsity: the fraction of each column that is zero, rounded up to whole rows.
        std: the standard deviation of the rest.

    Source: Martens, 2010.
    """
    check_matrix(tensor)
    check_floating("tensor", tensor)
    fraction, scale = finite("sparsity", sparsity), not_negative("std", std)
    if not 0 <= fraction <= 1:
        raise ValueError(f"`sparsity` (={fraction}) must be between 0 and 1.")
    zeros = math.ceil(fraction * tensor.shape[0])
    values = mx.random.normal(tensor.shape, scale=scale)
    order = mx.argsort(mx.random.uniform(shape=tensor.shape), axis=0)
    return fill(tensor, mx.where(order < zeros, 0, values))
