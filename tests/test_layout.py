"""On a GPU, what is channels-last in memory stays so, from layer to layer."""

from __future__ import annotations

import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.metal_emulator.emulation import emulated_metal

GRID = mx.array(np.random.default_rng(1).uniform(-1, 1, (2, 3, 4, 5, 3)), mx.float32)
KERNEL = {k: mx.ones((4, 3, k, k, k)) for k in (2, 3)}
FUNCTIONS = {
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "instance_norm": F.instance_norm,
    "group_norm": lambda x: F.group_norm(x, 2),
    "max_pool3d": lambda x: F.max_pool3d(x, 2),
    "overlapping max_pool3d": lambda x: F.max_pool3d(x, 3, 2, 1),
    "avg_pool3d": lambda x: F.avg_pool3d(x, 2),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x, 4),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "trilinear": lambda x: F.interpolate(x, (9, 10, 3), mode="trilinear"),
    "area": lambda x: F.interpolate(x, (3, 9, 4), mode="area"),
    "grid_sample": lambda x: F.grid_sample(x, GRID),
    "conv_transpose3d k2 s2": lambda x: F.conv_transpose3d(x, KERNEL[2], stride=2),
    "conv_transpose3d k3 s2": lambda x: F.conv_transpose3d(x, KERNEL[3], stride=2),
    "reflection": lambda x: F.pad(x, (1, 2, 0, 1, 1, 1), "reflect"),
    "constant": lambda x: F.pad(x, (1, 2, 0, 1, 1, 1)),
    "dropout": lambda x: F.dropout(x, 0.5),
    "dropout3d": lambda x: F.dropout3d(x, 0.5),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.5, training=True),
}


def channels_last(seed: int) -> mx.array:
    """(N, C, D, H, W), seen of memory (N, D, H, W, C)."""
    drawn = np.random.default_rng(seed).standard_normal((2, 6, 7, 8, 4))
    return mx.array(drawn.astype(np.float32)).transpose(0, 4, 1, 2, 3)


def is_channels_last(x: mx.array) -> bool:
    mx.eval(x)
    strides = memoryview(x).strides
    assert strides is not None
    return strides[1] == x.itemsize and max(strides[1:]) == strides[2]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_output_and_gradient_of_a_channels_last_view_are_such_views(name):
    function = FUNCTIONS[name]
    x = channels_last(0)
    assert is_channels_last(x)
    with emulated_metal():
        assert is_channels_last(function(x))
        gradient = mx.grad(lambda x: function(x).square().sum())(x)
        assert is_channels_last(gradient)


def test_a_cpu_has_its_channels_first():
    assert not is_channels_last(F.instance_norm(channels_last(0)))
