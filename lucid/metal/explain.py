"""Which path a convolution takes on an Apple GPU, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lucid import _device, tuning
from lucid._types import (
    DTypeLike,
    check_float_dtype,
    dtype_name,
    integer,
    resolve_dtype,
    shown,
)
from lucid.geometry import ConvGeometry, conv_geometry, conv_transpose_geometry
from lucid.metal.conv import METAL, known_fault
from lucid.metal.padding import pad_kernel
from lucid.ops.conv import Formulation
import mlx.core as mx

if TYPE_CHECKING:
    from lucid.choice import Pick


def explain(
    layer_or_geometry: Any,
    input_shape: Sequence[int] | None = None,
    dtype: DTypeLike = None,
) -> str:
    """How each pass of a convolution is computed on an Apple GPU, why, and its memory.

    If `lucid.autotune` is on, this is measured, now or before. A kernel that this
    process has found wrong on its GPU is named as such.

    Args:
        layer_or_geometry: a `Conv3d` or `ConvTranspose3d` (lazy or not), or the
            `ConvGeometry` of a convolution.
        input_shape: (N, C, D, H, W), with a layer.
        dtype: of the arrays; None is the layer's, or float32.

    Raises:
        TypeError: if it is neither of these, or a layer without `input_shape`.
        ValueError: if the layer cannot take `input_shape`.

    Example:
        >>> import lucid.metal, lucid.nn as nn
        >>> conv = nn.LazyConv3d(32, 3, padding=1)
        >>> print(lucid.metal.explain(conv, (1, 32, 64, 64, 64)))  # doctest: +ELLIPSIS
        (1, 32, 64, 64, 64) -> (1, 32, 64, 64, 64), float32
        forward: mx.conv3d
          1.2 times as fast by arithmetic: 0.67 of the peak
          Lucid's Metal kernels: 0.55 of the peak by its loads
        input gradient: mx.conv3d
          1.2 times as fast by arithmetic: 0.67 of the peak
          Lucid's Metal kernels: 0.55 of the peak by its loads
        weight gradient: Lucid's Metal kernels
          3.5 times as fast by arithmetic: 0.60 of the peak by its loads
          mx.conv3d: 2,128 MB for a matrix product of each tap
        temporaries: ...
    """
    from lucid.choice import choose, choose_on_gpu  # which imports this package

    geometry, weight = layer_or_geometry, None
    # A transposed convolution is the input gradient of one, and the other way around.
    transposed = hasattr(layer_or_geometry, "output_padding")
    if not isinstance(geometry, ConvGeometry):
        geometry = _geometry_of(layer_or_geometry, input_shape, transposed)
        weight = layer_or_geometry.weight
    elif input_shape is not None:
        raise TypeError("`input_shape` goes with a layer; a geometry has its own.")
    if dtype is None and weight is not None:
        dtype = weight.dtype
    resolved = resolve_dtype(dtype)
    check_float_dtype("dtype", resolved)
    if tuning.enabled() and _device.uses_metal():
        with _device.running_on("gpu"):
            chosen = choose(geometry, resolved, transposed)
    else:
        metal = not _device.metal_switched_off()
        chosen = choose_on_gpu(geometry, resolved, metal=metal)
    shapes = [geometry.input_shape, geometry.output_shape]
    passes = {
        which: _in_words(which, pick, geometry, resolved)
        for which, pick in chosen.passes.items()
    }
    if transposed:
        shapes.reverse()
        forward, input_gradient = passes["forward"], passes["input gradient"]
        passes |= {"forward": input_gradient, "input gradient": forward}
    lines = [f"{shapes[0]} -> {shapes[1]}, {dtype_name(resolved)}"]
    lines += [f"{name}: {words}" for name, words in passes.items()]
    held = "; ".join(_held(chosen.formulation, geometry, resolved))
    return "\n".join([*lines, f"temporaries: {held}"])


def _held(
    formulation: Formulation, geometry: ConvGeometry, dtype: mx.Dtype
) -> Iterator[str]:
    """What is held beside input, weight and output."""
    yield formulation.temporaries
    wide = not formulation.takes_half and dtype.size < 4
    mode = geometry.padding_mode
    if mode != "zeros" and geometry.is_padded and not formulation.every_mode:
        n, c, *size = geometry.input_shape
        x = mx.zeros((n, *size, c), mx.float32 if wide else dtype)
        fault = pad_kernel.known_fault((x, geometry.padding, mode))
        if fault is None:
            yield "the input, padded by a Metal kernel"
        else:
            why = fault.splitlines()[0]
            yield f"the input, padded: its kernel failed its check on this GPU, {why}"
    if wide:
        yield "copies in float32"


def _in_words(which: str, pick: Pick, geometry: ConvGeometry, dtype: mx.Dtype) -> str:
    """What computes a pass, and why; and whether its kernel was found wrong."""
    lines = [pick.formulation.name, *pick.reason.split("; ")]
    fault = known_fault(which, geometry, dtype) if pick.formulation is METAL else None
    if fault is not None:
        lines += [
            "its kernel failed its check on this GPU: MLX's operations take its place",
            fault.splitlines()[0],
        ]
    return "\n  ".join(lines)


def _geometry_of(
    layer: Any, input_shape: Sequence[int] | None, transposed: bool
) -> ConvGeometry:
    """A layer's geometry for an input that it need not have seen."""
    if not hasattr(layer, "padding_mode"):
        raise TypeError(f"`layer_or_geometry` is no Conv3d: {type(layer).__name__}.")
    if input_shape is None:
        raise TypeError("`input_shape` is needed with a layer.")
    if not isinstance(input_shape, tuple | list):
        raise TypeError(
            f"`input_shape` (={shown(input_shape)}) must be a tuple of ints."
        )
    shape = tuple(integer("input_shape", length) for length in input_shape)
    if len(shape) != 5 or min(shape) < 0:
        raise ValueError(f"`input_shape` (={shape}) must be (N, C, D, H, W).")
    channels = layer.in_channels or shape[1]
    per_group = max(channels // layer.groups, 1)
    if transposed:
        return conv_transpose_geometry(
            shape,
            (channels, layer.out_channels // layer.groups, *layer.kernel_size),
            stride=layer.stride,
            padding=layer.padding,
            output_padding=layer.output_padding,
            dilation=layer.dilation,
            groups=layer.groups,
        )
    return conv_geometry(
        shape,
        (layer.out_channels, per_group, *layer.kernel_size),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        padding_mode=layer.padding_mode,
    )
