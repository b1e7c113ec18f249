"""Padding by Metal kernel: reflect, replicate and circular, three axes in one pass."""

from __future__ import annotations

from collections.abc import Sequence

from lucid.geometry import PADDING_MODES, Padding
from lucid.layout import channels_first, channels_last
from lucid.metal import launch
from lucid.metal.guard import guarded
from lucid.metal.smaller import smaller_pad_adjoints, smaller_pads
from lucid.ops import padding
from lucid.ops.derivative import with_derivatives
import mlx.core as mx


def pad_last_axes(x: mx.array, sides: Sequence[tuple[int, int]], mode: str) -> mx.array:
    """Pad the last axes of `x`, three at most, by (before, after) voxels each."""
    none = (0, 0)
    first, second, third = [none] * (3 - len(sides)) + list(sides)
    three = (first, second, third)
    if x.ndim == 5:  # volumes, channels-last in memory as convolutions leave them
        return channels_first(pad(channels_last(x), three, mode))
    lead, size = x.shape[: x.ndim - len(sides)], x.shape[x.ndim - len(sides) :]
    rows = x.reshape(-1, *[1] * (3 - len(sides)), *size, 1)
    padded = pad(rows, three, mode)
    return padded.reshape(*lead, *padded.shape[4 - len(sides) : 4])


def pad(x: mx.array, sides: Padding, mode: str) -> mx.array:
    """Pad D, H and W of (N, D, H, W, C) by (before, after) voxels each.

    The gradient is `pad_adjoint`, whose gradient is this again.
    """

    def vjp(_: mx.array, cotangent: mx.array) -> mx.array:
        return pad_adjoint(cotangent, sides, mode)

    def jvp(_: mx.array, tangent: mx.array) -> mx.array:
        return pad(tangent, sides, mode)

    return with_derivatives(lambda x: pad_kernel(x, sides, mode), vjp, jvp)(x)


def pad_adjoint(dy: mx.array, sides: Padding, mode: str) -> mx.array:
    """The gradient of `pad`: each voxel gathers what its copies were given."""

    def vjp(_: mx.array, cotangent: mx.array) -> mx.array:
        return pad(cotangent, sides, mode)

    def jvp(_: mx.array, tangent: mx.array) -> mx.array:
        return pad_adjoint(tangent, sides, mode)

    return with_derivatives(lambda dy: pad_adjoint_kernel(dy, sides, mode), vjp, jvp)(
        dy
    )


def pad_ops(x: mx.array, sides: Padding, mode: str) -> mx.array:
    """The twin of `pad_kernel`."""
    return padding.pad(x, [*sides, (0, 0)], mode)


@guarded(twin=pad_ops, smaller=smaller_pads)
def pad_kernel(x: mx.array, sides: Padding, mode: str) -> mx.array:
    """`pad` by kernel: an element is read and written once for each padded voxel."""
    n, *size, c = x.shape
    padded = [s + sum(side) for s, side in zip(size, sides, strict=True)]
    return _launch("pad", "x", x, sides, mode, (n, *padded, c))


def pad_adjoint_ops(dy: mx.array, sides: Padding, mode: str) -> mx.array:
    """The twin of `pad_adjoint_kernel`: MLX's derivative of `pad_ops`."""
    x = mx.zeros(unpadded_shape(dy, sides), mx.float32)
    cotangent = dy.astype(mx.float32)
    _, (dx,) = mx.vjp(lambda x: [pad_ops(x, sides, mode)], [x], [cotangent])
    return dx.astype(dy.dtype)


@guarded(twin=pad_adjoint_ops, smaller=smaller_pad_adjoints)
def pad_adjoint_kernel(dy: mx.array, sides: Padding, mode: str) -> mx.array:
    """`pad_adjoint` by kernel; sums in float32."""
    shape = unpadded_shape(dy, sides)
    return _launch("pad_adjoint", "dy", dy, sides, mode, shape)


def unpadded_shape(dy: mx.array, sides: Padding) -> tuple[int, ...]:
    n, *size, c = dy.shape
    return (n, *(s - sum(side) for s, side in zip(size, sides, strict=True)), c)


def _launch(
    name: str,
    input_name: str,
    x: mx.array,
    sides: Padding,
    mode: str,
    shape: tuple[int, ...],
) -> mx.array:
    """Both kernels run over the output, `VEC` channels a thread."""
    n, *size, c = shape
    vector = 4 if c % 4 == 0 else 1
    return launch.launch(
        name,
        inputs={
            input_name: x,
            "size": launch.integers(*size),
            "before": launch.integers(*(before for before, _ in sides)),
        },
        template={"T": x.dtype, "MODE": PADDING_MODES.index(mode), "VEC": vector},
        threads=(size[2] * c // vector, size[1], n * size[0]),
        shape=shape,
        dtype=x.dtype,
    )
