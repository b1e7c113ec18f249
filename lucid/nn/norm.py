"""Batch and instance normalization."""

from __future__ import annotations

from lucid._types import DeviceLike, DTypeLike, Tensor
from lucid.nn import functional as F
from lucid.nn._channel_norm import ChannelNorm
from lucid.nn._lazy import LazyModule
from lucid.nn.functional.conv import channels_of


class BatchNorm3d(ChannelNorm):
    """(x - mean) / sqrt(variance + eps) * weight + bias, for each channel.

    In training, mean and variance (biased) are the batch's, and the running statistics
    move towards its mean and unbiased variance. In evaluation, the running statistics
    are used. Ioffe & Szegedy (2015).

    Inside `mx.checkpoint` the running statistics move twice a step, as in PyTorch;
    inside `mx.vmap` they cannot move: call `eval()` before.

    Args:
        num_features: channels of the input.
        eps: added to the variance.
        momentum: weight of a batch in the running statistics; None for the mean of
            all batches.
        affine: whether to have weight and bias.
        track_running_stats: whether to have running statistics; without, evaluation
            uses the batch's.
        device: 'cpu', 'gpu' (or 'metal'), an MLX device, or None for MLX's default when
            called.
        dtype: float32 (None), float16 or bfloat16; statistics are taken in float32.
        bias: whether to have a bias, where `affine` is True.

    Shape:
        - input: (N, C, D, H, W); N may be 0
        - output: as the input

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a value that is out of range; at the call, a shape that does not
            fit, or one value a channel in training.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> norm = nn.BatchNorm3d(4)
        >>> norm(lucid.zeros(2, 4, 3, 3, 3)).shape, norm.num_batches_tracked.item()
        ((2, 4, 3, 3, 3), 1)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        *,
        bias: bool = True,
    ):
        super().__init__(
            *(num_features, eps, momentum, affine, track_running_stats),
            *(device, dtype, bias),
        )

    def _normalize(
        self,
        batch: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        num_batches_tracked: Tensor | None,
    ) -> Tensor:
        moves = self.training and self.track_running_stats
        tracked = None
        if num_batches_tracked is not None and moves:
            tracked = num_batches_tracked + 1
        momentum: float | Tensor | None = self.momentum
        if momentum is None:  # the mean of all batches
            momentum = 0.0 if tracked is None else 1 / tracked
        is_used = moves or not self.training
        y = F.batch_norm(
            batch,
            running_mean if is_used else None,
            running_var if is_used else None,
            weight,
            bias,
            training=self.training or running_mean is None,
            momentum=momentum,
            eps=self.eps,
        )
        if num_batches_tracked is not None and tracked is not None:
            num_batches_tracked[...] = tracked
        return y

    def _batch(self, input: Tensor) -> Tensor:
        channels_of(input)
        if input.ndim != 5:
            raise ValueError(
                f"`input` must be 5-D (N, C, D, H, W), got shape {input.shape}."
            )
        return super()._batch(input)


class LazyBatchNorm3d(LazyModule, BatchNorm3d):
    """A BatchNorm3d that infers num_features from the first input, or a state dict.

    Args:
        eps: as in `BatchNorm3d`.
        momentum: as in `BatchNorm3d`.
        affine: as in `BatchNorm3d`.
        track_running_stats: as in `BatchNorm3d`.
        device: as in `BatchNorm3d`.
        dtype: as in `BatchNorm3d`.
        bias: as in `BatchNorm3d`.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> norm = nn.LazyBatchNorm3d()
        >>> _ = norm(lucid.zeros(2, 4, 3, 3, 3))
        >>> norm.num_features, norm.running_mean.shape
        (4, (4,))
    """

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        *,
        bias: bool = True,
    ):
        super().__init__(
            *(0, eps, momentum, affine, track_running_stats, device, dtype),
            bias=bias,
        )


class InstanceNorm3d(ChannelNorm):
    """(x - mean) / sqrt(variance + eps) * weight + bias, for each channel and volume.

    Mean and variance (biased) are the volume's. With `track_running_stats`, running
    statistics move towards their means in training and are used in evaluation (see
    `BatchNorm3d` on `mx.checkpoint` and `mx.vmap`). Ulyanov et al. (2016).

    Args:
        num_features: channels of the input; not used without weight or statistics.
        eps: added to the variance.
        momentum: weight of a batch in the running statistics.
        affine: whether to have weight and bias.
        track_running_stats: whether to have running statistics.
        device: 'cpu', 'gpu' (or 'metal'), an MLX device, or None for MLX's default when
            called.
        dtype: float32 (None), float16 or bfloat16; statistics are taken in float32.
        bias: whether to have a bias, where `affine` is True.

    Shape:
        - input: (N, C, D, H, W) or (C, D, H, W); N may be 0
        - output: as the input

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a value that is out of range; at the call, a shape that does not
            fit, or one voxel a volume.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> norm = nn.InstanceNorm3d(4, affine=True)
        >>> norm(lucid.zeros(2, 4, 3, 3, 3)).shape, list(norm.state_dict())
        ((2, 4, 3, 3, 3), ['weight', 'bias'])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        *,
        bias: bool = True,
    ):
        super().__init__(
            *(num_features, eps, momentum, affine, track_running_stats),
            *(device, dtype, bias),
        )

    def _normalize(
        self,
        batch: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        num_batches_tracked: Tensor | None,
    ) -> Tensor:
        return F.instance_norm(
            batch,
            running_mean,
            running_var,
            weight,
            bias,
            use_input_stats=self.training or not self.track_running_stats,
            momentum=0.0 if self.momentum is None else self.momentum,
            eps=self.eps,
        )


class LazyInstanceNorm3d(LazyModule, InstanceNorm3d):
    """An InstanceNorm3d that infers num_features from the first input or a state dict.

    Unlike `InstanceNorm3d`, and as in PyTorch, it has weight, bias and running
    statistics by default.

    Args:
        eps: as in `InstanceNorm3d`.
        momentum: as in `InstanceNorm3d`.
        affine: as in `InstanceNorm3d`.
        track_running_stats: as in `InstanceNorm3d`.
        device: as in `InstanceNorm3d`.
        dtype: as in `InstanceNorm3d`.
        bias: as in `InstanceNorm3d`.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> norm = nn.LazyInstanceNorm3d(track_running_stats=False)
        >>> _ = norm(lucid.zeros(4, 3, 3, 3))
        >>> norm.num_features, norm.weight.shape
        (4, (4,))
    """

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        *,
        bias: bool = True,
    ):
        super().__init__(
            *(0, eps, momentum, affine, track_running_stats, device, dtype),
            bias=bias,
        )
