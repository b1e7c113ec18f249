"""Element by element."""

from __future__ import annotations

import functools
from typing import Any

from lucid.layout import elementwise
from lucid.nn import functional as F
from lucid.program.operations.creation import dtype_of
import mlx.core as mx


def _binary(function: Any) -> dict[str, Any]:
    """The overloads of an operation of two values, arrays or numbers."""
    return {
        overload: lambda self, other: function(self, other)
        for overload in ("Tensor", "Scalar")
    }


def _in_order(function: Any) -> Any:
    """`function` of two volumes in the order of their memory, of all else as it is."""

    def of_two(self: Any, other: Any) -> mx.array:
        if isinstance(self, mx.array) and isinstance(other, mx.array):
            return elementwise(function, self, other)
        return function(self, other)

    return of_two


def _scaled(function: Any) -> Any:
    return lambda self, other, alpha=1: function(
        self, other if alpha == 1 else alpha * other
    )


def _divided(self: Any, other: Any, rounding_mode: str | None = None) -> mx.array:
    if rounding_mode == "floor":
        return mx.floor_divide(self, other)
    quotient = mx.divide(self, other)
    if rounding_mode is None:
        return quotient
    whole = mx.sign(quotient) * mx.floor(mx.abs(quotient))
    return whole.astype(self.dtype)


def _clamp(self: mx.array, min: Any = None, max: Any = None) -> mx.array:
    if min is not None:
        self = mx.maximum(self, min)
    return self if max is None else mx.minimum(self, max)


def _cast(self: mx.array, dtype: str | None = None, **_: Any) -> mx.array:
    return self.astype(dtype_of(dtype, self.dtype))


def _unary(function: Any) -> Any:
    return lambda self, **_: function(self)


def _fill(self: mx.array, value: Any) -> mx.array:
    return mx.broadcast_to(mx.array(value).astype(self.dtype), self.shape)


_UNARY = {
    **{name: getattr(mx, name) for name in ("abs", "exp", "log", "log2", "log10")},
    **{name: getattr(mx, name) for name in ("log1p", "expm1", "sqrt", "rsqrt", "sin")},
    **{name: getattr(mx, name) for name in ("cos", "tan", "tanh", "erf", "floor")},
    **{
        name: getattr(mx, name) for name in ("ceil", "round", "sign", "square", "isnan")
    },
    **{name: getattr(mx, name) for name in ("isinf", "reciprocal", "logical_not")},
    "neg": mx.negative,
    "atan": mx.arctan,
    "sigmoid": mx.sigmoid,
    "relu": F.relu,
    "relu6": lambda x: mx.clip(x, 0, 6),
    "selu": F.selu,
    "silu": F.silu,
    "mish": F.mish,
    "hardsigmoid": lambda x: mx.clip(x / 6 + 0.5, 0, 1),
    "hardswish": F.hardswish,
    "bitwise_not": lambda x: ~x if x.dtype == mx.bool_ else mx.bitwise_invert(x),
    "trunc": lambda x: mx.sign(x) * mx.floor(mx.abs(x)),
    "frac": lambda x: x - mx.sign(x) * mx.floor(mx.abs(x)),
    "log_sigmoid": lambda x: -mx.logaddexp(-x, mx.zeros_like(x)),
    "detach_copy": lambda x: x,
}
_BINARY = {
    "mul": _in_order(mx.multiply),
    "eq": mx.equal,
    "ne": mx.not_equal,
    "lt": mx.less,
    "le": mx.less_equal,
    "gt": mx.greater,
    "ge": mx.greater_equal,
    "remainder": mx.remainder,
    "bitwise_and": mx.bitwise_and,
    "bitwise_or": mx.bitwise_or,
    "bitwise_xor": mx.bitwise_xor,
    "__and__": mx.bitwise_and,
    "__or__": mx.bitwise_or,
    "__xor__": mx.bitwise_xor,
    "__lshift__": mx.left_shift,
    "__rshift__": mx.right_shift,
}

_CASTS = ("to.dtype", "to.device", "to.dtype_layout", "_to_copy.default")
CASTS = frozenset(f"aten.{name}" for name in _CASTS)
"""Operations that make another dtype."""

POINTWISE: dict[str, Any] = {
    **{f"aten.{name}.default": _unary(f) for name, f in _UNARY.items()},
    **{
        f"aten.{name}.{overload}": call
        for name, function in _BINARY.items()
        for overload, call in _binary(function).items()
    },
    **{
        f"aten.{name}.{overload}": _scaled(function)
        for name, function in (
            ("add", _in_order(mx.add)),
            ("sub", _in_order(mx.subtract)),
        )
        for overload in ("Tensor", "Scalar")
    },
    **{
        f"aten.div.{overload}": _divided
        for overload in ("Tensor", "Scalar", "Tensor_mode", "Scalar_mode")
    },
    **{
        f"aten.{name}.default": function
        for name, function in (
            ("logical_and", lambda self, other: mx.logical_and(self, other)),
            ("logical_or", lambda self, other: mx.logical_or(self, other)),
            ("logical_xor", lambda self, other: (self != 0) != (other != 0)),
            ("maximum", lambda self, other: mx.maximum(self, other)),
            ("minimum", lambda self, other: mx.minimum(self, other)),
            ("floor_divide", lambda self, other: mx.floor_divide(self, other)),
            ("atan2", lambda self, other: mx.arctan2(self, other)),
        )
    },
    "aten.floor_divide.Scalar": lambda self, other: mx.floor_divide(self, other),
    "aten.rsub.Scalar": lambda self, other, alpha=1: other - alpha * self,
    "aten.pow.Tensor_Scalar": lambda self, exponent: mx.power(self, exponent),
    "aten.pow.Tensor_Tensor": lambda self, exponent: mx.power(self, exponent),
    "aten.pow.Scalar": lambda self, exponent: mx.power(self, exponent),
    "aten.clamp.default": _clamp,
    "aten.clamp.Tensor": _clamp,
    "aten.clamp_min.default": _clamp,
    "aten.clamp_max.default": _clamp,
    "aten.hardtanh.default": lambda self, min_val=-1, max_val=1: _clamp(
        self, min_val, max_val
    ),
    "aten.where.self": lambda condition, self, other: mx.where(condition, self, other),
    "aten.where.ScalarOther": lambda condition, self, other: mx.where(
        condition, self, other
    ),
    "aten.where.ScalarSelf": lambda condition, self, other: mx.where(
        condition, self, other
    ),
    "aten.masked_fill.Scalar": lambda self, mask, value: mx.where(
        mask, mx.array(value, self.dtype), self
    ),
    "aten.masked_fill.Tensor": lambda self, mask, value: mx.where(
        mask, value.astype(self.dtype), self
    ),
    "aten.fill.Scalar": _fill,
    "aten.fill.Tensor": _fill,
    "aten.zero.default": lambda self: mx.zeros_like(self),
    "aten.copy.default": lambda self, src, **_: mx.broadcast_to(
        src.astype(self.dtype), self.shape
    ),
    **{f"aten.{name}": _cast for name in _CASTS},
    "aten.to.other": lambda self, other, **_: self.astype(other.dtype),
    "aten.type_as.default": lambda self, other: self.astype(other.dtype),
    "aten.addcmul.default": lambda self, tensor1, tensor2, value=1: (
        self + value * tensor1 * tensor2
    ),
    "aten.threshold.default": lambda self, threshold, value: mx.where(
        self > threshold, self, mx.array(value, self.dtype)
    ),
    "aten.lerp.Scalar": lambda self, end, weight: self + weight * (end - self),
    "aten.leaky_relu.default": lambda self, negative_slope=0.01: F.leaky_relu(
        self, negative_slope
    ),
    "aten.elu.default": lambda self, alpha=1.0, scale=1, input_scale=1: (
        scale * F.elu(input_scale * self, alpha)
    ),
    "aten.celu.default": lambda self, alpha=1.0: (
        mx.maximum(self, 0)
        + mx.minimum(0, alpha * mx.expm1(mx.minimum(self, 0) / alpha))
    ),
    "aten.gelu.default": lambda self, approximate="none": F.gelu(self, approximate),
    "aten.softplus.default": lambda self, beta=1, threshold=20: F.softplus(
        self, beta, threshold
    ),
    "aten.prelu.default": lambda self, weight: F.prelu(self, weight),
    "aten.softmax.int": lambda self, dim, dtype=None: F.softmax(
        _cast(self, dtype), dim
    ),
    "aten.log_softmax.int": lambda self, dim, dtype=None: F.log_softmax(
        _cast(self, dtype), dim
    ),
    "aten._softmax.default": lambda self, dim, half_to_float: F.softmax(self, dim),
    "aten._log_softmax.default": lambda self, dim, half_to_float: F.log_softmax(
        self, dim
    ),
    "aten.glu.default": lambda self, dim=-1: functools.reduce(
        lambda a, b: a * mx.sigmoid(b), mx.split(self, 2, axis=dim)
    ),
}
