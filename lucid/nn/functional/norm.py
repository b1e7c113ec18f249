"""Normalization with PyTorch's arguments; computed in `lucid.ops.norm`."""

from __future__ import annotations

from collections.abc import Sequence
import math

from lucid._types import Tensor, check_array, check_float_dtype, flag, real
from lucid.nn.functional._normalized import (
    check_batch,
    check_momentum,
    check_num_groups,
    check_parameter,
    check_per_channel,
    check_running,
    move,
    normalize,
    normalized_axes,
    with_statistics,
)
from lucid.ops import norm
from lucid.ops.norm import Shared
import mlx.core as mx


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, for each channel.

    Ioffe & Szegedy (2015). Statistics are computed in float32.

    Args:
        input: float32, float16 or bfloat16.
        running_mean: in training, moved towards the batch's mean, in place:
            running = (1 - momentum) * running + momentum * mean. Else it is the mean.
        running_var: likewise, towards the unbiased variance.
        weight: a factor for each channel; None is 1.
        bias: added to each channel; None is 0.
        training: whether to use the batch's mean and (biased) variance.
        momentum: weight of the batch in the running statistics.
        eps: added to the variance; in training, more than 0.

    Shape:
        - input: (N, C) or (N, C, ...), volumes (N, C, D, H, W); N may be 0
        - running_mean, running_var, weight, bias: (C,)
        - output: as the input

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: shapes that do not fit; in training, one value a channel; no
            running statistics otherwise.

    Example:
        >>> import lucid, lucid.nn.functional as F
        >>> mean, var = lucid.zeros(2), lucid.ones(2)
        >>> x = lucid.tensor([[1.0, 2.0], [3.0, 6.0]])
        >>> F.batch_norm(x, mean, var, training=True, eps=1e-12)
        array([[-1, -1],
               [1, 1]], dtype=float32)
        >>> mean
        array([0.2, 0.4], dtype=float32)
    """
    channels = check_batch(input)
    check_per_channel(input, channels, weight=weight, bias=bias)
    check_running(channels, running_mean, running_var)
    momentum, training = check_momentum(momentum), flag("training", training)
    if real("eps", eps) < 0 or (training and eps == 0):
        rule = "positive in training" if training else "at least 0"
        raise ValueError(f"`eps` (={eps}) must be {rule}.")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("`running_mean` must be given where `training` is False.")
        return with_statistics(input, running_mean, running_var, weight, bias, eps)
    values = input.size // max(channels, 1)
    if values == 1:
        raise ValueError(
            "`input` must have more than one value for each channel in training, got "
            f"shape {input.shape}."
        )
    y, mean, variance = normalize(input, weight, bias, eps, Shared(volumes=True))
    if values and running_mean is not None and running_var is not None:
        move(running_mean, mean[0], momentum)
        move(running_var, variance[0] * (values / (values - 1)), momentum)
    return y


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, for each channel and volume.

    Ulyanov, Vedaldi & Lempitsky (2016). Statistics are computed in float32.

    Args:
        input: float32, float16 or bfloat16.
        running_mean: moved, in place, towards the volumes' mean of means as in
            `batch_norm`; without `use_input_stats` it is the mean.
        running_var: likewise, towards the mean of the unbiased variances.
        weight: a factor for each channel; None is 1.
        bias: added to each channel; None is 0.
        use_input_stats: whether to use each volume's mean and (biased) variance.
        momentum: weight of the batch in the running statistics.
        eps: added to the variance.

    Shape:
        - input: (N, C, ...), volumes (N, C, D, H, W); N may be 0
        - running_mean, running_var, weight, bias: (C,)
        - output: as the input

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: shapes that do not fit; one voxel a volume; no running statistics
            where they are to be used.
    """
    channels = check_batch(input)
    check_per_channel(input, channels, weight=weight, bias=bias)
    check_running(channels, running_mean, running_var)
    momentum = check_momentum(momentum)
    if not flag("use_input_stats", use_input_stats):
        if running_mean is None or running_var is None:
            raise ValueError(
                "`running_mean` must be given where `use_input_stats` is False."
            )
        return with_statistics(input, running_mean, running_var, weight, bias, eps)
    values = math.prod(input.shape[2:])
    if values == 1:
        raise ValueError(
            "`input` must have more than one voxel to normalize, got shape "
            f"{input.shape}."
        )
    y, mean, variance = normalize(input, weight, bias, eps, Shared())
    if input.size and running_mean is not None and running_var is not None:
        move(running_mean, mean.mean(0), momentum)
        move(running_var, variance.mean(0) * (values / (values - 1)), momentum)
    return y


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, for each group and volume.

    Wu & He (2018). Statistics, of the channels of a group together, are in float32.

    Args:
        input: float32, float16 or bfloat16.
        num_groups: number of groups into which the channels are divided.
        weight: a factor for each channel; None is 1.
        bias: added to each channel; None is 0.
        eps: added to the variance.

    Shape:
        - input: (N, C, ...), volumes (N, C, D, H, W); N may be 0
        - weight, bias: (C,)
        - output: as the input

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: shapes that do not fit; no value, or a single one, for a group.
    """
    channels = check_batch(input)
    check_num_groups(num_groups, channels)
    check_per_channel(input, channels, weight=weight, bias=bias)
    if 0 in input.shape[1:]:
        raise ValueError(
            f"`input` must have a channel and a voxel at least, got {input.shape}."
        )
    if input.shape[0] == 1 and input.size == num_groups:
        raise ValueError(
            "`input` must have more than one value for each group, got shape "
            f"{input.shape}."
        )
    shared = Shared(channels=channels // num_groups)
    return normalize(input, weight, bias, eps, shared)[0]


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, over the last axes.

    Ba, Kiros & Hinton (2016). Statistics are computed in float32.

    Args:
        input: float32, float16 or bfloat16.
        normalized_shape: the last axes' lengths.
        weight: a factor for each entry of these axes; None is 1.
        bias: added to each entry of these axes; None is 0.
        eps: added to the variance.

    Shape:
        - input: (..., *normalized_shape)
        - weight, bias: normalized_shape
        - output: as the input

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: shapes that do not fit.
    """
    check_array("input", input)
    check_float_dtype("input", input.dtype)
    shape = normalized_axes(normalized_shape)
    if input.shape[-len(shape) :] != shape:
        raise ValueError(
            f"`input` must end in `normalized_shape` (={shape}), got shape "
            f"{input.shape}."
        )
    for name, value in (("weight", weight), ("bias", bias)):
        check_parameter(name, value, shape, input)
    x = input.astype(mx.float32)
    if input.size:
        rows = x.reshape(-1, 1, math.prod(shape))
        one, zero = mx.ones((1,)), mx.zeros((1,))
        x = norm.normalize(rows, one, zero, real("eps", eps), Shared(), voxels=2)[0]
        x = x.reshape(input.shape)
    if weight is not None:
        x = x * weight
    if bias is not None:
        x = x + bias
    return x.astype(input.dtype)
