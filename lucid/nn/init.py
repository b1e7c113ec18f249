"""Weight initializers, in place, under PyTorch's names.

Each function overwrites its tensor and returns it. Numbers are drawn in float32 and
cast, so that a half-precision layer starts from the rounded weights of a float32 one.
"""

from __future__ import annotations

import math
import warnings

from lucid._types import Tensor, finite, one_of, scalar
from lucid.nn._init_filling import check_drawn, check_tensor, fill, not_negative
from lucid.nn._init_structured import dirac_, eye_, orthogonal_, sparse_
import mlx.core as mx

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def __dir__() -> list[str]:
    return __all__


_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The recommended factor on the standard deviation for a nonlinearity.

    1 for linear, convolutions and sigmoid, 5/3 for tanh, sqrt(2) for relu,
    sqrt(2 / (1 + param^2)) for leaky_relu (param is its slope, 0.01 unless given),
    3/4 for selu: PyTorch's table, from He et al. (2015) for the rectifiers.

    Raises:
        ValueError: for an unknown nonlinearity.

    Example:
        >>> from lucid.nn import init
        >>> init.calculate_gain("leaky_relu", 1.0)
        1.0
    """
    if isinstance(nonlinearity, str) and nonlinearity == "leaky_relu":
        return _leaky_gain("param", 0.01 if param is None else param)
    return _GAINS[one_of("nonlinearity", nonlinearity, (*_GAINS, "leaky_relu"))]


def _leaky_gain(name: str, slope: float) -> float:
    slope = finite(name, slope)
    return math.sqrt(2 / (1 + slope * slope))


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Draw from U(a, b)."""
    check_drawn(tensor)
    low, high = finite("a", a), finite("b", b)
    if not low <= high <= low + mx.finfo(mx.float32).max:
        raise ValueError(f"`a` (={low}) must be at most `b` (={high}), in float32.")
    return fill(tensor, mx.random.uniform(low, high, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draw from N(mean, std^2)."""
    check_drawn(tensor)
    loc, scale = finite("mean", mean), not_negative("std", std)
    return fill(tensor, mx.random.normal(tensor.shape, loc=loc, scale=scale))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    check_tensor(tensor)
    return fill(tensor, mx.full(tensor.shape, scalar("val", val, tensor.dtype)))


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(tensor, 1)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw from U(-a, a), a = gain * sqrt(6 / (fan_in + fan_out)).

    Source: Glorot & Bengio, 2010.
    """
    fan_in, fan_out = _fans(tensor)
    bound = not_negative("gain", gain) * math.sqrt(6 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draw from N(0, std^2), std = gain * sqrt(2 / (fan_in + fan_out)).

    Source: Glorot & Bengio, 2010.
    """
    fan_in, fan_out = _fans(tensor)
    scale = not_negative("gain", gain) * math.sqrt(2 / (fan_in + fan_out))
    return normal_(tensor, 0, scale)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Tensor:
    """Draw from U(-bound, bound), bound = gain * sqrt(3 / fan).

    Args:
        tensor: (O, I / groups, ...); fan_in is the product of all axes but the first,
            fan_out of all but the second.
        a: the negative slope of leaky_relu.
        mode: 'fan_in' keeps the variance forward, 'fan_out' backward.
        nonlinearity: the function after the layer; see `calculate_gain`.

    Source: He et al., 2015.
    """
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Tensor:
    """Draw from N(0, std^2), std = gain / sqrt(fan); arguments as `kaiming_uniform_`.

    Source: He et al., 2015.
    """
    return normal_(tensor, 0, _kaiming_std(tensor, a, mode, nonlinearity))


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Draw from N(mean, std^2), truncated to [a, b].

    The inverse of the distribution function is computed in float32, which has few
    different numbers far out in a tail (5 std). There is a warning beyond 2 std.
    """
    check_drawn(tensor)
    loc, scale = finite("mean", mean), not_negative("std", std)
    low, high = finite("a", a), finite("b", b)
    if not low <= high:
        raise ValueError(f"`a` (={low}) must be at most `b` (={high}).")
    if scale == 0:
        raise ValueError("`std` (=0) must be positive.")
    if loc < low - 2 * scale or loc > high + 2 * scale:
        warnings.warn(
            f"`mean` (={loc}) is more than 2 std outside [a, b] = [{low}, {high}]: "
            "the numbers may not be distributed well.",
            stacklevel=2,
        )
    bounds = (mx.array((bound - loc) / scale) for bound in (low, high))
    drawn = mx.random.truncated_normal(*bounds, shape=tensor.shape)
    return fill(tensor, mx.clip(loc + scale * drawn, low, high))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    one_of("mode", mode, ("fan_in", "fan_out"))
    fan_in, fan_out = _fans(tensor)
    fan = fan_in if mode == "fan_in" else fan_out
    is_leaky = isinstance(nonlinearity, str) and nonlinearity == "leaky_relu"
    gain = _leaky_gain("a", a) if is_leaky else calculate_gain(nonlinearity)
    return gain / math.sqrt(fan)


def _fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight laid out (O, I / groups, *kernel)."""
    check_drawn(tensor)
    if tensor.ndim < 2:
        raise ValueError(f"`tensor` must have 2 axes or more, got {tensor.shape}.")
    if tensor.size == 0:
        raise ValueError(f"`tensor` has an empty axis: shape {tensor.shape}.")
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps
