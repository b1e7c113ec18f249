"""What a convolution costs on a GPU by each path: operations, bytes, temporaries."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any, NamedTuple

from lucid._types import (
    DTypeLike,
    check_float_dtype,
    dtype_name,
    integer,
    resolve_dtype,
)
from lucid.geometry import ConvGeometry, conv_geometry
from lucid.metal.choice import choose, switched_off
from lucid.metal.conv import weight_gradient_work
from lucid.ops import native
import mlx.core as mx

PASSES = ("forward", "input gradient", "weight gradient")


class Cost(NamedTuple):
    """One pass: floating-point operations, bytes read and written, bytes held."""

    flops: int
    moved: int
    temporaries: dict[str, int]

    @property
    def held(self) -> int:
        return sum(self.temporaries.values())


class _Sizes(NamedTuple):
    """Voxels, and the bytes of the arrays."""

    item: int
    outputs: int  # voxels
    grow: float  # padded voxels for each of the input
    x: int
    y: int
    w: int
    flops: int


def _sizes(geometry: ConvGeometry, item: int) -> _Sizes:
    inputs, outputs, padded = (
        math.prod(size)
        for size in (geometry.input_size, geometry.output_size, geometry.padded_size)
    )
    weights = geometry.in_channels // geometry.groups * math.prod(geometry.kernel_size)
    outputs *= geometry.batch
    return _Sizes(
        item=item,
        outputs=outputs,
        grow=padded / inputs,
        x=item * geometry.batch * inputs * geometry.in_channels,
        y=item * outputs * geometry.out_channels,
        w=item * weights * geometry.out_channels,
        flops=2 * outputs * geometry.out_channels * weights,
    )


# Why a path holds what it holds, where that is more than twice its input.
REASONS = {
    "the weight in another layout": "one copy of the weight",
    "sums of the splits, in float32": "no more than input and output, or one weight",
    "the voxels that a stride reads": "a copy of them alone",
    "slices and joins of the groups": "spares products with zeros",
    "the padded input": "its border; the volume is small",
    "the gradient of the padded input": "its border; the volume is small",
    "channels by 16, read": "MLX's matrix kernels, at most 3 times the products",
    "channels by 16, written": "MLX's matrix kernels, at most 3 times the products",
    "planes of Winograd": "it does a fifth of the products; freed at the end",
    "phases of the stride, interleaved": "MLX's own derivative would copy K patches",
    "dy, padded for each phase": "MLX's own derivative would copy K patches",
    "dy on its grid": "spares a copy of the voxels for each tap",
    "the voxels of one tap": "spares a copy of the voxels for each tap",
    "columns of shifted slices": "without kernels; kept for MLX's derivative",
    "float32 copies": "without kernels; half types are summed in float32",
    "patches of x": "MLX's own derivative, without Lucid's",
    "patches of dy": "MLX's own derivative, without Lucid's",
}


def costs(geometry: ConvGeometry, dtype: mx.Dtype, path: str) -> tuple[Cost, ...]:
    """The cost of each of `PASSES` by a path.

    An operation reads each of its arrays from memory once, and a temporary is written
    once and read once. An input that is not channels-last in memory costs a copy more.
    """
    s = _sizes(geometry, dtype.size)
    if path == "kernels":
        return _of_kernels(geometry, s)
    if path == "matmul":
        strided = geometry.stride != (1, 1, 1)
        read = s.item * s.outputs * geometry.in_channels
        held = {"the voxels that a stride reads": read} if strided else {}
        return (_cost(s, held), _cost(s, held), _cost(s, held))
    if path == "mx.conv3d":
        return _of_native(geometry, s, dtype)
    if path == "mx.conv3d by group":
        return _of_groups(geometry, s, dtype)
    if path == "columns":
        return _of_columns(geometry, s, dtype)
    return _of_plain(geometry, s, dtype)


def _cost(s: _Sizes, temporaries: dict[str, int], flops: int | None = None) -> Cost:
    """Three arrays, each read or written once, and what is held beside them."""
    moved = s.x + s.y + s.w + 2 * sum(temporaries.values())
    return Cost(s.flops if flops is None else flops, moved, temporaries)


def _of_kernels(geometry: ConvGeometry, s: _Sizes) -> tuple[Cost, ...]:
    weight = {"the weight in another layout": s.w}
    splits = weight_gradient_work(geometry, s.item).splits
    parts = {"sums of the splits, in float32": 4 * s.w // s.item * splits}
    return (_cost(s, weight), _cost(s, weight), _cost(s, parts))


def _of_native(geometry: ConvGeometry, s: _Sizes, dtype: mx.Dtype) -> tuple[Cost, ...]:
    """mx.conv3d forward, `lucid.ops.native` backward."""
    c, o = geometry.in_channels, geometry.out_channels
    forward = _by_16(s.x, c, s.y, o)
    backward = _by_16(s.y, o, s.x, c)
    flops, flops_back = (_products(s.flops, *pair) for pair in ((c, o), (o, c)))
    uneven = any(before != after for before, after in geometry.padding)
    padded = int(s.x * s.grow)
    if geometry.padding_mode != "zeros":
        backward["the gradient of the padded input"] = padded
    if geometry.padding_mode != "zeros" or uneven:
        forward["the padded input"] = padded
    if native.takes_winograd(geometry, dtype):
        forward["planes of Winograd"] = native.winograd_bytes(geometry)
        flops //= 5
    phases = math.prod(geometry.stride)
    if phases > 1:
        backward["phases of the stride, interleaved"] = 2 * padded
        backward["dy, padded for each phase"] = phases * s.y
    return (
        _cost(s, forward, flops),
        _cost(s, backward, flops_back),
        _weight_gradient(geometry, s),
    )


def _products(flops: int, c: int, o: int) -> int:
    wide_c, wide_o = native.matrix_channels(c, o)
    return flops * wide_c * wide_o // (c * o)


def _by_16(read: int, c: int, written: int, o: int) -> dict[str, int]:
    """What MLX copies to convolve c -> o channels (pad_and_slice_conv_3D_gpu)."""
    if c % 16 == 0 and (o <= 16 or o % 16 == 0):
        return {}
    wide_c, wide_o = -(-c // 16) * 16, -(-o // 16) * 16
    copies = {"channels by 16, written": written * wide_o // o}
    if c % 16:
        copies["channels by 16, read"] = read * wide_c // c
    return copies


def _weight_gradient(geometry: ConvGeometry, s: _Sizes) -> Cost:
    """A matrix product for each tap."""
    kernel = math.prod(geometry.kernel_size)
    x = int(s.x * s.grow)
    if native.on_a_grid(geometry):
        ratio = x / (s.item * geometry.in_channels) / s.outputs
        y = int(s.y * ratio)
        held = {"the padded input": x, "dy on its grid": y}
        moved = kernel * (x + y) + s.x + s.y + s.w
        return Cost(int(s.flops * ratio), moved, held)
    voxels = s.item * s.outputs * geometry.in_channels
    held = {"the padded input": x, "the voxels of one tap": voxels}
    return Cost(s.flops, kernel * (3 * voxels + s.y) + x + s.w, held)


def _of_groups(geometry: ConvGeometry, s: _Sizes, dtype: mx.Dtype) -> tuple[Cost, ...]:
    """mx.conv3d for each group, and the channels sliced and joined."""
    g = geometry.groups
    one = native.one_group(geometry)
    slices = {"slices and joins of the groups": s.x + s.y}
    return tuple(
        Cost(
            g * cost.flops,
            g * cost.moved + 2 * (s.x + s.y),
            {name: g * held for name, held in cost.temporaries.items()} | slices,
        )
        for cost in _of_native(one, _sizes(one, s.item), dtype)
    )


def _of_columns(geometry: ConvGeometry, s: _Sizes, dtype: mx.Dtype) -> tuple[Cost, ...]:
    """The K slices of the input, in float32."""
    kernel = math.prod(geometry.kernel_size)
    held = {"columns of shifted slices": 4 * s.outputs * kernel * geometry.in_channels}
    if dtype != mx.float32:
        held["float32 copies"] = 2 * (s.x + s.y)
    return (_cost(s, held), _cost(s, held), _cost(s, held))


def _of_plain(geometry: ConvGeometry, s: _Sizes, dtype: mx.Dtype) -> tuple[Cost, ...]:
    """mx.conv3d with MLX's derivatives: patches of x, and of dy where it is strided."""
    kernel = math.prod(geometry.kernel_size)
    strided = geometry.stride != (1, 1, 1)
    of_dy = kernel * s.x // geometry.in_channels * geometry.out_channels
    of_x = s.item * s.outputs * kernel * geometry.in_channels
    forward, backward, _ = _of_native(geometry, s, dtype)
    return (
        forward,
        _cost(s, {"patches of dy": of_dy}) if strided else backward,
        _cost(s, {"patches of x": of_x}),
    )


def explain(
    layer_or_geometry: Any,
    input_shape: Sequence[int] | None = None,
    dtype: DTypeLike = None,
) -> str:
    """Which path a convolution takes on an Apple GPU, why, and at what cost, in words.

    Args:
        layer_or_geometry: a `Conv3d` (lazy or not), or a `ConvGeometry`.
        input_shape: (N, C, D, H, W), with a layer.
        dtype: of the arrays; None is the layer's, or float32.

    Raises:
        TypeError: if there is no layer, or a layer without `input_shape`.
        ValueError: if the layer cannot take `input_shape`.

    Example:
        >>> import lucid.metal, lucid.nn as nn
        >>> conv = nn.LazyConv3d(32, 3, padding=1, groups=32, padding_mode="reflect")
        >>> print(lucid.metal.explain(conv, (1, 32, 64, 64, 64)).splitlines()[0])
        (1, 32, 64, 64, 64) -> (1, 32, 64, 64, 64), float32
    """
    geometry, weight = layer_or_geometry, None
    if not isinstance(geometry, ConvGeometry):
        geometry = _geometry_of(layer_or_geometry, input_shape)
        weight = layer_or_geometry.weight
    elif input_shape is not None:
        raise TypeError("`input_shape` goes with a layer; a geometry has its own.")
    if dtype is None and weight is not None:
        dtype = weight.dtype
    resolved = resolve_dtype(dtype)
    check_float_dtype("dtype", resolved)
    choice = choose(geometry, kernels=not switched_off())
    x = (geometry.batch, geometry.in_channels, *geometry.input_size)
    lines = [
        f"{x} -> {geometry.output_shape}, {dtype_name(resolved)}",
        f"path: {choice.path}, because {choice.reason}",
    ]
    found = costs(geometry, resolved, choice.path) if geometry.batch else ()
    for name, cost in zip(PASSES, found, strict=False):
        lines.append(
            f"{name + ':':17}{cost.flops / 1e9:.3g} GFLOP, {cost.moved / 1e6:.3g} MB "
            f"moved, {cost.held / 1e6:.3g} MB of temporaries"
        )
        large = cost.held > 2 * resolved.size * math.prod(x)
        lines += [
            f"  {held / 1e6:.3g} MB: {what}" + f" ({REASONS[what]})" * large
            for what, held in cost.temporaries.items()
        ]
    return "\n".join(lines)


def _geometry_of(layer: Any, input_shape: Sequence[int] | None) -> ConvGeometry:
    """A layer's geometry for an input that it need not have seen."""
    if not hasattr(layer, "padding_mode"):
        raise TypeError(f"`layer_or_geometry` is no Conv3d: {type(layer).__name__}.")
    if input_shape is None:
        raise TypeError("`input_shape` is needed with a layer.")
    if not isinstance(input_shape, tuple | list):
        raise TypeError(f"`input_shape` (={input_shape!r}) must be a tuple of ints.")
    shape = tuple(integer("input_shape", length) for length in input_shape)
    if len(shape) != 5 or min(shape) < 0:
        raise ValueError(f"`input_shape` (={shape}) must be (N, C, D, H, W).")
    channels = layer.in_channels or shape[1]
    per_group = max(channels // layer.groups, 1)
    return conv_geometry(
        shape,
        (layer.out_channels, per_group, *layer.kernel_size),
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        layer.padding_mode,
    )
