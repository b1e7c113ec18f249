"""What networks are made of: Lucid's functions."""

from __future__ import annotations

from typing import Any

from lucid.nn import functional as F
import mlx.core as mx


def _sizes(value: Any) -> Any:
    """One number or three, as Lucid takes them; an empty list is PyTorch's None."""
    if isinstance(value, list):
        return tuple(value) if value else None
    return value


def _convolve(
    input: mx.array,
    weight: mx.array,
    bias: mx.array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> mx.array:
    return F.conv3d(
        input,
        weight,
        bias,
        stride=_sizes(stride),
        padding=_sizes(padding),
        dilation=_sizes(dilation),
        groups=groups,
    )


def _convolve_transposed(
    input: mx.array,
    weight: mx.array,
    bias: mx.array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> mx.array:
    return F.conv_transpose3d(
        input,
        weight,
        bias,
        stride=_sizes(stride),
        padding=_sizes(padding),
        output_padding=_sizes(output_padding),
        groups=groups,
        dilation=_sizes(dilation),
    )


def _convolution(
    input: mx.array,
    weight: mx.array,
    bias: mx.array | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> mx.array:
    """Both, as PyTorch's decompositions spell them."""
    if transposed:
        return _convolve_transposed(
            input, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return _convolve(input, weight, bias, stride, padding, dilation, groups)


def _batch_norm(
    input: mx.array,
    weight: mx.array | None,
    bias: mx.array | None,
    running_mean: mx.array | None,
    running_var: mx.array | None,
    training: bool,
    momentum: float,
    eps: float,
    **_: Any,
) -> mx.array:
    return F.batch_norm(
        input, running_mean, running_var, weight, bias, training, momentum, eps
    )


def _instance_norm(
    input: mx.array,
    weight: mx.array | None,
    bias: mx.array | None,
    running_mean: mx.array | None,
    running_var: mx.array | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    **_: Any,
) -> mx.array:
    return F.instance_norm(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


def _group_norm(
    input: mx.array,
    num_groups: int,
    weight: mx.array | None = None,
    bias: mx.array | None = None,
    eps: float = 1e-5,
    **_: Any,
) -> mx.array:
    return F.group_norm(input, num_groups, weight, bias, eps)


def _layer_norm(
    input: mx.array,
    normalized_shape: Any,
    weight: mx.array | None = None,
    bias: mx.array | None = None,
    eps: float = 1e-5,
    **_: Any,
) -> mx.array:
    return F.layer_norm(input, tuple(normalized_shape), weight, bias, eps)


def _rms_norm(
    input: mx.array,
    normalized_shape: Any,
    weight: mx.array | None = None,
    eps: float | None = None,
) -> mx.array:
    """x / sqrt(mean(x^2) + eps) over the last axes (Zhang and Sennrich 2019)."""
    axes = list(range(-len(normalized_shape), 0))
    x = input.astype(mx.float32)
    smallest = mx.finfo(input.dtype).eps if eps is None else eps
    y = x * mx.rsqrt(x.square().mean(axes, keepdims=True) + smallest)
    y = y.astype(input.dtype)
    return y if weight is None else y * weight


def _max_pool(
    self: mx.array,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> mx.array:
    return F.max_pool3d(
        self,
        _sizes(kernel_size),
        _sizes(stride),
        _sizes(padding),
        _sizes(dilation),
        ceil_mode,
    )


def _avg_pool(
    self: mx.array,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> mx.array:
    return F.avg_pool3d(
        self,
        _sizes(kernel_size),
        _sizes(stride),
        _sizes(padding),
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


def _upsample(mode: str) -> Any:
    def upsample(
        input: mx.array,
        output_size: Any = None,
        align_corners: bool | None = None,
        scale_factors: Any = None,
    ) -> mx.array:
        return F.interpolate(
            input,
            size=_sizes(output_size),
            scale_factor=None if output_size else _sizes(scale_factors),
            mode=mode,
            align_corners=align_corners,
        )

    return upsample


def _feature_dropout(input: mx.array, p: float, train: bool) -> mx.array:
    """Whole channels of any volume, image or row."""
    if not train or p == 0:
        return input
    shape = (*input.shape[:2], *[1] * (input.ndim - 2))
    kept = mx.random.bernoulli(1 - p, shape)
    return mx.where(kept, input / (1 - p) if p < 1 else input, 0).astype(input.dtype)


def _grid_sample(
    input: mx.array,
    grid: mx.array,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
) -> mx.array:
    return F.grid_sample(
        input,
        grid,
        ("bilinear", "nearest", "bicubic")[interpolation_mode],
        ("zeros", "border", "reflection")[padding_mode],
        align_corners,
    )


def _embedding(
    weight: mx.array, indices: mx.array, padding_idx: int = -1, **_: Any
) -> mx.array:
    """Rows of the weight; that of the padding has no gradient."""
    rows = weight[indices]
    if padding_idx < 0:
        return rows
    is_padding = (indices == padding_idx)[..., None]
    return mx.where(is_padding, mx.stop_gradient(rows), rows)


def _weight_norm(v: mx.array, g: mx.array, dim: int = 0) -> mx.array:
    """g v / |v|, with a norm for each place of an axis (Salimans and Kingma 2016)."""
    axes = None if dim == -1 else [i for i in range(v.ndim) if i != dim % v.ndim]
    return v * (g / mx.sqrt(v.square().sum(axes, keepdims=True)))


LAYERS: dict[str, Any] = {
    "aten.conv3d.default": _convolve,
    "aten.conv3d.padding": _convolve,
    "aten.conv_transpose3d.input": _convolve_transposed,
    "aten.convolution.default": _convolution,
    "aten.batch_norm.default": _batch_norm,
    "aten.instance_norm.default": _instance_norm,
    "aten.group_norm.default": _group_norm,
    "aten.layer_norm.default": _layer_norm,
    "aten.max_pool3d.default": _max_pool,
    "aten.avg_pool3d.default": _avg_pool,
    "aten.adaptive_avg_pool3d.default": lambda self, output_size: F.adaptive_avg_pool3d(
        self, _sizes(output_size)
    ),
    "aten.upsample_nearest3d.vec": _upsample("nearest"),
    "aten._upsample_nearest_exact3d.vec": _upsample("nearest-exact"),
    "aten.upsample_trilinear3d.vec": _upsample("trilinear"),
    "aten.linear.default": lambda input, weight, bias=None: F.linear(
        input, weight, bias
    ),
    "aten.embedding.default": _embedding,
    "aten.rms_norm.default": _rms_norm,
    "aten._weight_norm.default": _weight_norm,
    "aten.dropout.default": lambda input, p, train: F.dropout(input, p, train),
    "aten.alpha_dropout.default": lambda input, p, train: F.alpha_dropout(
        input, p, train
    ),
    "aten.feature_dropout.default": _feature_dropout,
    "aten.affine_grid_generator.default": F.affine_grid,
    "aten.grid_sampler.default": _grid_sample,
}

RANDOM_LAYERS = frozenset(
    {
        "aten.dropout.default",
        "aten.alpha_dropout.default",
        "aten.feature_dropout.default",
        "aten.scaled_dot_product_attention.default",
    }
)

MODES = {
    "aten.dropout.default": "train",
    "aten.alpha_dropout.default": "train",
    "aten.feature_dropout.default": "train",
    "aten.batch_norm.default": "training",
    "aten.instance_norm.default": "use_input_stats",
}
"""The argument that says whether the network was exported in training mode."""
