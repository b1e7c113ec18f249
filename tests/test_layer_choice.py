"""Which layers go by Metal kernel on a GPU, and that the others are computed too."""

from __future__ import annotations

from collections.abc import Callable

import lucid
from lucid import _device
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.metal_emulator import emulated_metal
from tests.oracle.tolerances import assert_close

X = mx.array(np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 5, 6)), mx.float32)
NORM = ["channel_sums", "channel_sums", "channel_affine"]
LAYERS: dict[str, tuple[Callable[[mx.array], mx.array], list[str]]] = {
    "instance norm": (F.instance_norm, NORM),
    "group norm": (lambda x: F.group_norm(x, 2), NORM),
    "batch norm": (lambda x: F.batch_norm(x, None, None, training=True), NORM),
    "batch norm, evaluation": (
        lambda x: F.batch_norm(x, mx.zeros((4,)), mx.ones((4,))),
        ["channel_affine"],
    ),
    "layer norm": (lambda x: F.layer_norm(x, 6), []),
    "max pool": (lambda x: F.max_pool3d(x, 2), ["max_pool"]),
    "mean pool": (lambda x: F.avg_pool3d(x, 2), ["resample"]),
    "trilinear": (
        lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"),
        ["resample"],
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_goes_by_kernel_unless_they_are_switched_off(name, monkeypatch):
    function, kernels = LAYERS[name]
    want = np.array(function(X))
    with emulated_metal() as emulation:
        got = function(X)
        assert emulation.names == kernels
        with lucid.plain_operations():
            plain = function(X)
        monkeypatch.setenv("LUCID_METAL", "0")
        off = function(X)
        assert emulation.names == kernels
    for y in (got, plain, off):
        assert_close(y, want, name)


@pytest.mark.parametrize("name", LAYERS)
def test_a_cpu_launches_nothing(name):
    function, _ = LAYERS[name]
    with emulated_metal() as emulation, _device.running_on("cpu"):
        function(X)
    assert emulation.names == []


def test_an_unbatched_volume_goes_by_kernel_too():
    with emulated_metal() as emulation:
        F.max_pool3d(X[0], 2)
    assert emulation.names == ["max_pool"]


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_under_compile_and_checkpoint(name):
    function, _ = LAYERS[name]

    def loss(x: mx.array) -> mx.array:
        return (function(x) ** 3).sum()

    want = np.array(mx.grad(loss)(X))
    with emulated_metal() as emulation:
        compiled = mx.compile(mx.grad(loss))(X)
        twins = list(emulation.twins)
        again = mx.grad(mx.checkpoint(loss))(X)
        mx.eval(compiled, again)
    assert bool(twins) == (name != "layer norm")  # a trace evaluates nothing
    for got in (compiled, again):
        assert_close(got, want, name)
