"""3-D convolution and its exact gradients in float64 NumPy, a kernel tap at a time.

The first oracle. It is written from the definition and shares no code with Lucid;
padding is `np.pad`'s, and its gradient follows where `np.pad` takes each voxel from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import itertools
from typing import Any

import numpy as np

NUMPY_MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}

Array = np.ndarray
Pairs = Sequence[tuple[int, int]]


def triple(value: Any) -> tuple[int, int, int]:
    return (value, value, value) if isinstance(value, int) else tuple(value)


def padding_pairs(padding: Any, kernel: Sequence[int], dilation: Any) -> Pairs:
    """(before, after) for each axis; 'same' puts the odd voxel after."""
    if padding == "valid":
        return [(0, 0)] * 3
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, triple(dilation), strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in triple(padding)]


def pad(x: Array, pairs: Pairs, mode: str, value: float = 0.0) -> Array:
    """Pad the last `len(pairs)` axes of `x`."""
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + list(pairs)
    if mode == "zeros":
        return np.pad(x, pairs, constant_values=value)
    return np.pad(x, pairs, mode=NUMPY_MODES[mode])  # pyright: ignore


def pad_gradient(cotangent: Array, pairs: Pairs, mode: str) -> Array:
    """The adjoint of `pad`: each padded voxel's share goes back where it came from."""
    first = cotangent.ndim - len(pairs)
    for axis, pair in enumerate(pairs, start=first):
        moved = np.moveaxis(cotangent, axis, 0)
        n = moved.shape[0] - sum(pair)
        # Row n collects what falls on the constant padding, and is dropped.
        sources = pad(np.arange(n), [pair], mode, value=n)
        gathered = np.zeros((n + 1, *moved.shape[1:]))
        np.add.at(gathered, sources, moved)
        cotangent = np.moveaxis(gathered[:n], 0, axis)
    return cotangent


def conv3d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Array:
    """(N, C, D, H, W) or (C, D, H, W) by (O, C/groups, KD, KH, KW), in float64."""
    if x.ndim == 4:
        options = (stride, padding, dilation, groups, padding_mode)
        return conv3d(x[None], weight, bias, *options)[0]
    kernel = weight.shape[2:]
    padded = pad(
        x.astype(np.float64), padding_pairs(padding, kernel, dilation), padding_mode
    )
    weight = _by_group(weight, groups, axis=0)  # (g, O/g, C/g, KD, KH, KW)
    y: Any = 0
    for tap, window in _windows(padded.shape[2:], kernel, stride, dilation):
        voxels = _by_group(padded[window], groups, axis=1)  # (N, g, C/g, OD, OH, OW)
        y = y + np.einsum("ngcdhw,goc->ngodhw", voxels, weight[(..., *tap)])
    y = y.reshape(len(x), -1, *y.shape[3:])
    return y if bias is None else y + bias.astype(np.float64)[:, None, None, None]


def conv3d_gradients(
    x: Array,
    weight: Array,
    cotangent: Array,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> tuple[Array, Array, Array]:
    """The gradients of <cotangent, conv3d(x, weight, bias)> in x, weight and bias."""
    if x.ndim == 4:
        options = (stride, padding, dilation, groups, padding_mode)
        dx, dw, db = conv3d_gradients(x[None], weight, cotangent[None], *options)
        return dx[0], dw, db
    kernel = weight.shape[2:]
    pairs = padding_pairs(padding, kernel, dilation)
    padded = pad(x.astype(np.float64), pairs, padding_mode)
    out = _by_group(cotangent.astype(np.float64), groups, axis=1)
    grouped = _by_group(weight, groups, axis=0).astype(np.float64)
    d_padded, d_weight = np.zeros(padded.shape), np.zeros(grouped.shape)
    for tap, window in _windows(padded.shape[2:], kernel, stride, dilation):
        voxels = _by_group(padded[window], groups, axis=1)
        d_weight[(..., *tap)] = np.einsum("ngodhw,ngcdhw->goc", out, voxels)
        d_voxels = np.einsum("ngodhw,goc->ngcdhw", out, grouped[(..., *tap)])
        d_padded[window] += d_voxels.reshape(padded[window].shape)
    d_bias = cotangent.astype(np.float64).sum((0, 2, 3, 4))
    d_x = pad_gradient(d_padded, pairs, padding_mode)
    return d_x, d_weight.reshape(weight.shape), d_bias


def conv_transpose3d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Array:
    """(N, C, D, H, W) by (C, O/groups, KD, KH, KW), in float64.

    Each voxel adds its multiple of the kernel to the output, from `stride` times its
    place on; `padding` is then cut off both sides.
    """
    stride, dilation = triple(stride), triple(dilation)
    spans = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    whole = [
        (n - 1) * s + span + p
        for n, s, span, p in zip(
            x.shape[2:], stride, spans, triple(output_padding), strict=True
        )
    ]
    grouped = _by_group(weight.astype(np.float64), groups, axis=0)  # (g, C/g, O/g, K..)
    parts = _by_group(x.astype(np.float64), groups, axis=1)  # (N, g, C/g, D, H, W)
    y = np.zeros((len(x), groups, grouped.shape[2], *whole))
    for tap in itertools.product(*map(range, weight.shape[2:])):
        places = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, dilation, x.shape[2:], stride, strict=True)
        )
        share = np.einsum("ngcdhw,gco->ngodhw", parts, grouped[(..., *tap)])
        y[(..., *places)] += share
    inside = (slice(p, n - p) for p, n in zip(triple(padding), whole, strict=True))
    y = y.reshape(len(x), -1, *whole)[(..., *inside)]
    return y if bias is None else y + bias.astype(np.float64)[:, None, None, None]


def _by_group(array: Array, groups: int, axis: int) -> Array:
    """Split one axis into (groups, the rest)."""
    shape = array.shape
    split = (groups, shape[axis] // groups)
    return array.reshape(*shape[:axis], *split, *shape[axis + 1 :])


def _windows(
    size: Sequence[int], kernel: Sequence[int], stride: Any, dilation: Any
) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...]]]:
    """Each tap of the kernel, and the voxels it meets as it moves over the volume."""
    stride, dilation = triple(stride), triple(dilation)
    for tap in itertools.product(*map(range, kernel)):
        window = [
            # The last position leaves room for the taps after this one.
            slice(t * d, n - (k - 1 - t) * d, s)
            for t, n, k, s, d in zip(tap, size, kernel, stride, dilation, strict=True)
        ]
        yield tap, (slice(None), slice(None), *window)
