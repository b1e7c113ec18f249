"""Lucid's gradients of mx.conv3d hold few copies of their arrays."""

from __future__ import annotations

from collections.abc import Callable

from lucid.geometry import ConvGeometry
from lucid.ops import conv
from lucid.ops.conv_mlx import MLX
from lucid.ops.conv_plain import MLX_PLAIN
import mlx.core as mx

from tests.ops.test_conv_mlx import first, geometry_of


def peak(function: Callable[..., mx.array], *arrays: mx.array) -> float:
    """The most memory held beside the arguments, in sizes of the first of them."""
    mx.eval(arrays)
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(function(*arrays))
    return (mx.get_peak_memory() - before) / arrays[0].nbytes


def test_the_weight_gradient_copies_no_patches():
    """At stride 1 the padded input and dy on its grid; MLX's own holds 27 inputs."""
    geometry = geometry_of(3, 1, 1, 1, 24, channels=(16, 16, 1), batch=1)
    x = dy = mx.ones((1, 24, 24, 24, 16))
    assert peak(lambda x, dy: MLX.weight_gradient(x, dy, geometry), x, dy) < 4
    assert peak(mlxs_weight_gradient(geometry), x, dy) > 20


def test_a_strided_weight_gradient_copies_few_taps():
    """At stride 2 the taps of a kernel of 5 meet 125 eighths of the input."""
    geometry = geometry_of(5, 2, 1, 2, 32, channels=(16, 16, 1), batch=1)
    x, dy = mx.ones((1, 32, 32, 32, 16)), mx.ones((1, 16, 16, 16, 16))
    assert peak(lambda x, dy: MLX.weight_gradient(x, dy, geometry), x, dy) < 5
    assert peak(mlxs_weight_gradient(geometry), x, dy) > 15


def mlxs_weight_gradient(geometry: ConvGeometry) -> Callable[..., mx.array]:
    w = mx.ones((geometry.out_channels, geometry.in_channels, *geometry.kernel_size))

    def gradient(x: mx.array, dy: mx.array) -> mx.array:
        def forward(w: mx.array) -> mx.array:
            return conv.conv3d(MLX_PLAIN, first(x), w, None, geometry)

        return mx.vjp(forward, [w], [first(dy)])[1][0]

    return gradient


def test_joining_the_phases_of_a_stride_holds_few_copies(monkeypatch):
    """Without what the CPU's mx.conv3d holds: it unfolds, and Metal's does not."""

    def zeros(x: mx.array, weight: mx.array, padding, dilation, **_) -> mx.array:
        options = zip(x.shape[1:], weight.shape[1:], padding, dilation, strict=False)
        size = [n + 2 * p - d * (k - 1) for n, k, p, d in options]
        return mx.full((len(x), *size, len(weight)), x[0, 0, 0, 0, 0])

    geometry = geometry_of(3, 2, 1, 1, 24, channels=(16, 16, 1), batch=1)
    dy, w = mx.ones((1, 12, 12, 12, 16)), mx.ones((16, 16, 3, 3, 3))
    monkeypatch.setattr(mx, "conv3d", zeros)
    inputs = peak(lambda dy: MLX.input_gradient(dy, w, geometry), dy) / 8
    assert inputs < 5
