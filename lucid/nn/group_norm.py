"""Group and layer normalization: layers without running statistics."""

from __future__ import annotations

from collections.abc import Sequence

from lucid._types import (
    DeviceLike,
    DTypeLike,
    Tensor,
    check_allocatable,
    flag,
    positive,
    real,
)
from lucid.nn import functional as F
from lucid.nn import init
from lucid.nn._layer import Layer, Shapes
from lucid.nn._module import Parameter
from lucid.nn.functional._normalized import check_num_groups, normalized_axes


class _Affine(Layer):
    """Weight and bias of one shape, or none."""

    weight: Parameter | None
    bias: Parameter | None

    def _create(
        self,
        shape: tuple[int, ...],
        affine: bool,
        bias: bool,
        device: DeviceLike,
        dtype: DTypeLike,
    ) -> None:
        names = ("weight",) * affine + ("bias",) * (affine and flag("bias", bias))
        self._shapes: Shapes = dict.fromkeys(names, shape)
        for name in {"weight", "bias"} - set(names):
            setattr(self, name, None)
        self._create_arrays(device, dtype)

    def parameter_shapes(self) -> Shapes:
        """The shape of weight and bias, as far as there are any."""
        return self._shapes

    def reset_parameters(self) -> None:
        """Begin anew: weight 1, bias 0."""
        self._allocate()  # new arrays: nobody else's are overwritten
        for name, fill in (("weight", init.ones_), ("bias", init.zeros_)):
            if name in self:
                fill(self[name])


class GroupNorm(_Affine):
    """(x - mean) / sqrt(variance + eps) * weight + bias, for each group and volume.

    Mean and variance (biased) are those of all channels of a group together. Wu & He
    (2018).

    Args:
        num_groups: number of groups into which the channels are divided.
        num_channels: channels of the input.
        eps: added to the variance.
        affine: whether to have weight and bias, a number for each channel.
        device: 'cpu', 'gpu' (or 'metal'), an MLX device, or None for MLX's default when
            called.
        dtype: float32 (None), float16 or bfloat16; statistics are taken in float32.
        bias: whether to have a bias, where `affine` is True.

    Shape:
        - input: (N, C, ...), volumes (N, C, D, H, W); N may be 0
        - output: as the input

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: groups that do not divide the channels; at the call, a shape that
            does not fit.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.GroupNorm(2, 4)(lucid.zeros(2, 4, 3, 3, 3)).shape
        (2, 4, 3, 3, 3)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
        *,
        bias: bool = True,
    ):
        super().__init__()
        self.num_channels = positive("num_channels", num_channels)
        check_allocatable("`num_channels`", (self.num_channels,), 4)
        check_num_groups(num_groups, self.num_channels)
        self.num_groups = num_groups
        self.eps = real("eps", eps)
        self.affine = flag("affine", affine)
        self._create((self.num_channels,), self.affine, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize `input`, (N, C, ...)."""
        with self._on_device():
            return F.group_norm(
                input, self.num_groups, self.weight, self.bias, self.eps
            )

    def extra_repr(self) -> str:
        """Every argument, as PyTorch shows them."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
            f"affine={self.affine}, bias={self.bias is not None}"
        )


class LayerNorm(_Affine):
    """(x - mean) / sqrt(variance + eps) * weight + bias, over the last axes.

    Ba, Kiros & Hinton (2016).

    Args:
        normalized_shape: the length of the last axis, or the lengths of several.
        eps: added to the variance.
        elementwise_affine: whether to have weight and bias, of `normalized_shape`.
        bias: whether to have a bias, where `elementwise_affine` is True.
        device: 'cpu', 'gpu' (or 'metal'), an MLX device, or None for MLX's default when
            called.
        dtype: float32 (None), float16 or bfloat16; statistics are taken in float32.

    Shape:
        - input: (..., *normalized_shape)
        - output: as the input

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a value that is out of range; at the call, a shape that does not
            fit.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.LayerNorm(4)(lucid.zeros(2, 3, 4)).shape
        (2, 3, 4)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ):
        super().__init__()
        self.normalized_shape = normalized_axes(normalized_shape)
        check_allocatable("`normalized_shape`", self.normalized_shape, 4)
        self.eps = real("eps", eps)
        self.elementwise_affine = flag("elementwise_affine", elementwise_affine)
        affine = self.elementwise_affine
        self._create(self.normalized_shape, affine, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize `input`, (..., *normalized_shape)."""
        with self._on_device():
            return F.layer_norm(
                input, self.normalized_shape, self.weight, self.bias, self.eps
            )

    def extra_repr(self) -> str:
        """Every argument, as PyTorch shows them."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )
