"""What a convolution costs on a GPU by each path: operations, bytes, temporaries."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from lucid._types import DTypeLike, dtype_name, resolve_dtype
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
    """Voxels, and bytes of the arrays."""

    item: int
    outputs: int  # voxels
    grow: float  # padded voxels for each of the input
    x: int
    y: int
    w: int
    flops: int


def _sizes(geometry: ConvGeometry, item: int) -> _Sizes:
    inputs = geometry.batch * math.prod(geometry.input_size)
    outputs = geometry.batch * math.prod(geometry.output_size)
    padded = geometry.batch * math.prod(geometry.padded_size)
    weights = geometry.in_channels // geometry.groups * math.prod(geometry.kernel_size)
    return _Sizes(
        item=item,
        outputs=outputs,
        grow=padded / inputs,
        x=item * inputs * geometry.in_channels,
        y=item * outputs * geometry.out_channels,
        w=item * weights * geometry.out_channels,
        flops=2 * outputs * geometry.out_channels * weights,
    )


def costs(geometry: ConvGeometry, dtype: mx.Dtype, path: str) -> tuple[Cost, ...]:
    """The cost of each of `PASSES` by a path.

    An operation reads each of its arrays from memory once, and a temporary is written
    once and read once. An input that is not channels-last in memory costs a copy more.
    """
    s = _sizes(geometry, dtype.size)
    if path == "kernels":
        return _kernel_costs(geometry, s)
    if path == "matmul":
        return (_cost(s, {}), _cost(s, {}), _cost(s, {}))
    if path in ("mx.conv3d", "mx.conv3d by group"):
        found = _native_costs(geometry, s, dtype)
        if geometry.groups == 1:
            return found
        slices = {"slices and joins of the groups": s.x + s.y}
        return tuple(
            Cost(c.flops, c.moved + 2 * (s.x + s.y), c.temporaries | slices)
            for c in found
        )
    kernel = math.prod(geometry.kernel_size)
    if path == "columns":
        patches = {"columns of shifted slices": s.item * s.outputs * kernel}
        patches = {k: v * geometry.in_channels for k, v in patches.items()}
        return (_cost(s, patches), _cost(s, patches), _cost(s, patches))
    # MLX's derivatives of mx.conv3d: patches of dy where it is strided, and of x.
    forward = _native_costs(geometry, s, dtype)[0]
    unfolded = {"patches of dy": kernel * s.x * geometry.out_channels}
    unfolded = {k: v // geometry.in_channels for k, v in unfolded.items()}
    strided = geometry.stride != (1, 1, 1)
    patches = {"patches of x": s.item * s.outputs * kernel * geometry.in_channels}
    return (forward, _cost(s, unfolded if strided else {}), _cost(s, patches))


def _cost(s: _Sizes, temporaries: dict[str, int], flops: int | None = None) -> Cost:
    """Three arrays, each read or written once, and what is held beside them."""
    moved = s.x + s.y + s.w + 2 * sum(temporaries.values())
    return Cost(s.flops if flops is None else flops, moved, temporaries)


def _kernel_costs(geometry: ConvGeometry, s: _Sizes) -> tuple[Cost, ...]:
    weight = {"the weight in another layout": s.w}
    splits = weight_gradient_work(geometry, s.item).splits
    parts = {"sums of the splits, in float32": 4 * s.w // s.item * splits}
    return (_cost(s, weight), _cost(s, weight), _cost(s, parts))


def _native_costs(
    geometry: ConvGeometry, s: _Sizes, dtype: mx.Dtype
) -> tuple[Cost, ...]:
    """mx.conv3d forward, `lucid.ops.native` backward."""
    g = geometry.groups
    c, o = geometry.in_channels // g, geometry.out_channels // g
    products = s.flops * native.to_16(c) * native.to_16(o) // (c * o)
    x_padded = int(s.x * s.grow)

    forward = _channels_padded(s.x, c, s.y, o)
    if geometry.padding_mode != "zeros":
        forward["the padded input"] = x_padded
    if native.padding_depth_reaches_winograd(geometry, dtype):
        forward["planes of Winograd"] = native.winograd_bytes(geometry)
        products //= 5

    backward = _channels_padded(s.y, o, s.x, c)
    if geometry.padding_mode != "zeros":
        backward["the gradient of the padded input"] = x_padded
    if geometry.stride != (1, 1, 1):
        backward["phases of the stride, interleaved"] = 2 * x_padded

    weight, moved, flops = _weight_gradient(geometry, s)
    return (
        _cost(s, forward, products),
        _cost(s, backward, s.flops * native.to_16(c) * native.to_16(o) // (c * o)),
        Cost(flops, moved, weight),
    )


def _channels_padded(x: int, c: int, y: int, o: int) -> dict[str, int]:
    """What MLX copies to convolve c -> o channels (pad_and_slice_conv_3D_gpu)."""
    if c % 16 == 0 and (o <= 16 or o % 16 == 0):
        return {}
    copies = {"the output with channels by 16": y * native.to_16(o) // o}
    if c % 16:
        copies["the input with channels by 16"] = x * native.to_16(c) // c
    return copies


def _weight_gradient(
    geometry: ConvGeometry, s: _Sizes
) -> tuple[dict[str, int], int, int]:
    """Temporaries, bytes and operations of a matrix product for each tap."""
    kernel = math.prod(geometry.kernel_size)
    x = int(s.x * s.grow)
    if native.on_a_grid(geometry):
        ratio = x // (s.item * geometry.in_channels) / s.outputs
        y = int(s.y * ratio)
        held = {"the padded input": x, "dy on its grid": y}
        return held, kernel * (x + y) + s.x + s.y, int(s.flops * ratio)
    voxels = s.item * s.outputs * geometry.in_channels
    held = {"the padded input": x, "the voxels of one tap": voxels}
    return held, kernel * (3 * voxels + s.y) + x, s.flops


# Where a path holds more than twice its input, the reason.
_REASONS = {
    "planes of Winograd": "it does a fifth of the products; freed at the end",
    "columns of shifted slices": "without kernels; 64 MiB at a time",
    "patches of x": "MLX's own derivative, without Lucid's",
    "patches of dy": "MLX's own derivative, without Lucid's",
    "sums of the splits, in float32": "no more than input and output together",
    "dy on its grid": "spares a copy of the voxels for each tap",
    "phases of the stride, interleaved": "MLX's own derivative would copy K patches",
    "the output with channels by 16": "the output is larger than the input",
    "slices and joins of the groups": "spares products with zeros",
}


def explain(
    layer_or_geometry: Any,
    input_shape: tuple[int, ...] | None = None,
    dtype: DTypeLike = None,
) -> str:
    """Which path a convolution takes on an Apple GPU, why, and at what cost, in words.

    Args:
        layer_or_geometry: a `Conv3d` (lazy or not) or a `ConvGeometry`.
        input_shape: (N, C, D, H, W), for a layer.
        dtype: of the input; None is float32.

    Example:
        >>> import lucid.metal, lucid.nn as nn
        >>> conv = nn.LazyConv3d(32, 3, padding=1, groups=32, padding_mode="reflect")
        >>> print(lucid.metal.explain(conv, (1, 32, 64, 64, 64)).splitlines()[0])
        (1, 32, 64, 64, 64) -> (1, 32, 64, 64, 64), float32
    """
    geometry = layer_or_geometry
    if not isinstance(geometry, ConvGeometry):
        geometry = _geometry_of(layer_or_geometry, input_shape)
    resolved = resolve_dtype(dtype)
    choice = choose(geometry, kernels=not switched_off())
    x = (geometry.batch, geometry.in_channels, *geometry.input_size)
    lines = [
        f"{x} -> {geometry.output_shape}, {dtype_name(resolved)}",
        f"path: {choice.path}, because {choice.reason}",
    ]
    input_bytes = resolved.size * math.prod(x)
    found = costs(geometry, resolved, choice.path)
    for name, cost in zip(PASSES, found, strict=True):
        lines.append(
            f"{name + ':':17}{cost.flops / 1e9:.3g} GFLOP, {cost.moved / 1e6:.3g} MB "
            f"moved, {cost.held / 1e6:.3g} MB of temporaries"
        )
        for what, held in cost.temporaries.items():
            reason = _REASONS.get(what, "") if cost.held > 2 * input_bytes else ""
            lines.append(
                f"  {held / 1e6:.3g} MB: {what}" + f" ({reason})" * (reason != "")
            )
    return "\n".join(lines)


def _geometry_of(layer: Any, input_shape: tuple[int, ...] | None) -> ConvGeometry:
    if input_shape is None:
        raise TypeError("`input_shape` is needed with a layer.")
    if len(input_shape) != 5:
        raise ValueError(f"`input_shape` (={input_shape}) must be (N, C, D, H, W).")
    per_group = max(input_shape[1] // layer.groups, 1)
    return conv_geometry(
        tuple(input_shape),
        (layer.out_channels, per_group, *layer.kernel_size),
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        layer.padding_mode,
    )
