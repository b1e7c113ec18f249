"""The linear layer."""

from __future__ import annotations

from collections.abc import Mapping
import math

from lucid._types import (
    DeviceLike,
    DTypeLike,
    Tensor,
    check_allocatable,
    check_array,
    flag,
    positive,
)
from lucid.nn import functional as F
from lucid.nn import init
from lucid.nn._layer import Layer, Shapes
from lucid.nn._lazy import LazyModule
from lucid.nn._module import Parameter
import mlx.core as mx


class Linear(Layer):
    """input @ weight.T + bias, over the last axis.

    Args:
        in_features: length of the input's last axis.
        out_features: length of the output's.
        bias: whether to add a learned number to each output.
        device: 'cpu', 'gpu' (or 'metal'), an MLX device, or None for MLX's default when
            called.
        dtype: float32 (None), float16 or bfloat16.

    Attributes:
        weight (Parameter): (out_features, in_features), drawn from U(-b, b),
            b = 1 / sqrt(in_features).
        bias (Parameter | None): (out_features,), drawn from the same interval.

    Shape:
        - input: (..., I)
        - output: (..., O)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a value that is out of range; at the call, a shape that does not
            fit.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.Linear(3, 4)(lucid.zeros(2, 3)).shape
        (2, 4)
    """

    weight: Parameter  # of a lazy layer, None until its first call
    bias: Parameter | None
    in_features: int | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ):
        super().__init__()
        self.in_features = self._size("in_features", in_features)
        self.out_features = positive("out_features", out_features)
        sizes = (self.out_features, self.in_features or 0)
        check_allocatable("`out_features` and `in_features`", sizes, 4)
        self._has_bias = flag("bias", bias)
        if not self._has_bias:
            self.bias = None
        self._create_arrays(device, dtype)

    def parameter_shapes(self) -> Shapes:
        """The shape of each parameter, None where it depends on the input."""
        shapes: Shapes = {"weight": (self.out_features, self.in_features)}
        if self._has_bias:
            shapes["bias"] = (self.out_features,)
        return shapes

    def reset_parameters(self) -> None:
        """Redraw weight and bias."""
        self._allocate()  # new arrays: nobody else's are overwritten
        with self._on_device():
            init.kaiming_uniform_(self.weight, a=math.sqrt(5))
            if self.bias is not None:
                bound = 1 / math.sqrt(self.weight.shape[1])
                init.uniform_(self.bias, -bound, bound)

    def infer(self, input: Tensor) -> dict[str, int]:
        """The length of a first input's last axis, once all else about it is right."""
        check_array("input", input)
        if input.ndim == 0 or input.shape[-1] == 0:
            raise ValueError(
                f"`input` must be (..., I), I at least 1, got shape {input.shape}."
            )
        weight = mx.zeros((self.out_features, input.shape[-1]), self["weight"].dtype)
        F.linear(input, weight)  # refuses what is wrong
        return {"in_features": input.shape[-1]}

    def sizes_from(self, values: Mapping[str, Tensor]) -> dict[str, int] | None:
        """The input's length, if the weight is among these arrays."""
        if "weight" not in values:
            return None
        return {"in_features": values["weight"].shape[1]}

    def forward(self, input: Tensor) -> Tensor:
        """The outputs, (..., O)."""
        with self._on_device():
            return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Every argument, as PyTorch shows them."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={'bias' in self}"
        )


class LazyLinear(LazyModule, Linear):
    """A Linear that infers in_features from the first input, or a state dict.

    Args:
        out_features: as in `Linear`.
        bias: as in `Linear`.
        device: as in `Linear`.
        dtype: as in `Linear`.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> linear = nn.LazyLinear(4)
        >>> linear(lucid.zeros(2, 3)).shape, linear.in_features
        ((2, 4), 3)
    """

    def __init__(
        self,
        out_features: int,
        bias: bool = True,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ):
        super().__init__(0, out_features, bias, device, dtype)
