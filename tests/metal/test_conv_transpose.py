"""Transposed convolution on a GPU: the kernels and products of an input gradient.

It is linear in x and in the weight, so the oracle has every derivative: with T(x, w)
the transposed convolution, those of <T(x, w), dy> are convolutions of dy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import lucid.metal
import lucid.nn as nn
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.metal_emulator import emulated_metal
from tests.oracle import direct, uniform
from tests.oracle.tolerances import RELATIVE, assert_close, distance

DTYPES = (mx.float32, mx.float16, mx.bfloat16)
KERNELS = ["conv_input_gradient", "conv_forward", "conv_weight_gradient"]
slow = [pytest.mark.slow]


@dataclass(frozen=True)
class Case:
    """An upsampling, and which kernels compute it and its two gradients."""

    channels: tuple[int, int]
    kernel_size: int
    options: dict[str, Any]
    kernels: list[str] = field(default_factory=lambda: KERNELS)
    size: tuple[int, int, int] = (2, 3, 4)

    @property
    def layer(self) -> nn.ConvTranspose3d:
        return nn.ConvTranspose3d(*self.channels, self.kernel_size, **self.options)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (2, self.channels[0], *self.size)


CASES = {
    "k2 s2": Case((6, 4), 2, {"stride": 2}, kernels=[]),
    "k2 s2, groups": Case((8, 4), 2, {"stride": 2, "groups": 2}),
    "k2 s2, depthwise": Case((4, 4), 2, {"stride": 2, "groups": 4}),
    "k3 s2": Case((4, 3), 3, {"stride": 2, "padding": 1, "output_padding": 1}),
    "k3 s2, depthwise": Case(
        (4, 4), 3, {"stride": 2, "padding": 1, "output_padding": 1, "groups": 4}
    ),
    "k3 s2, dilated": Case(
        (2, 4), 3, {"stride": 2, "padding": 2, "output_padding": 1, "dilation": 2}
    ),
    "k4 s2": Case((3, 4), 4, {"stride": 2, "padding": 1}),
    "k4 s2, groups": Case((6, 4), 4, {"stride": 2, "padding": 1, "groups": 2}),
    "k3 s1": Case((4, 4), 3, {"padding": 1}),
    "k2 s3": Case((4, 4), 2, {"stride": 3, "output_padding": 2}, kernels=[]),
}


def rounded(rng: np.random.Generator, shape: Any, dtype: mx.Dtype) -> np.ndarray:
    """What `dtype` can hold, as float32."""
    return np.array(mx.array(uniform(rng, shape)).astype(dtype).astype(mx.float32))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(name, dtype, marks=slow * ((i + j) % 6 > 0))
        for i, name in enumerate(CASES)
        for j, dtype in enumerate(DTYPES)
    ],
    ids=str,
)
def test_values_gradients_and_second_gradients_equal_the_oracle(name, dtype):
    case, rng = CASES[name], np.random.default_rng(0)
    options = case.options
    convolution = {k: v for k, v in options.items() if k != "output_padding"}
    weight_shape = case.layer.weight.shape
    x, u = (rounded(rng, case.input_shape, dtype) for _ in range(2))
    w, v = (rounded(rng, weight_shape, dtype) for _ in range(2))
    b = rounded(rng, (case.channels[1],), dtype)
    y = direct.conv_transpose3d(x, w, b, **options)
    dy = rounded(rng, y.shape, dtype)

    def transposed(x: Any, w: Any) -> Any:
        return direct.conv_transpose3d(x, w, **options)

    def dx(dy: Any, w: Any) -> Any:
        return direct.conv3d(dy, w, **convolution)[
            (..., *(slice(n) for n in case.size))
        ]

    def dw(dy: Any, x: Any) -> Any:
        outputs = direct.conv3d(dy, w, **convolution).shape[2:]
        ends = [(0, n - s) for n, s in zip(outputs, case.size, strict=True)]
        padded = np.pad(x, [(0, 0), (0, 0), *ends])
        return direct.conv3d_gradients(dy, w, padded, **convolution)[1]

    def function(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
        return F.conv_transpose3d(x, w, b, **options)

    def gradients(x: mx.array, w: mx.array, dy: mx.array) -> list[mx.array]:
        return mx.vjp(lambda x, w: function(x, w, bias), [x, w], [dy])[1]

    *inputs, bias = (mx.array(a).astype(dtype) for a in (x, w, dy, b))
    cotangents = [mx.array(a).astype(dtype) for a in (u, v)]
    with emulated_metal() as emulation:
        got = function(inputs[0], inputs[1], bias)
        first = gradients(*inputs)
        names = list(emulation.names)
        _, second = mx.vjp(gradients, inputs, cotangents)
        mx.eval(got, first, second)
    assert names == [*case.kernels[:1], *case.kernels]
    assert emulation.twins == []
    assert got.dtype == dtype
    # The bias rounds a half type once more.
    assert distance(got, y) <= 2 * RELATIVE[dtype]
    wanted = [dx(dy, w), dw(dy, x)]
    for gradient, want in zip(first, wanted, strict=True):
        assert_close(gradient, want, "a gradient", dtype)
    wanted = [dx(dy, v), dw(dy, u), transposed(u, w) + transposed(x, v)]
    for gradient, want in zip(second, wanted, strict=True):
        # The last is a sum of two, each rounded.
        assert distance(gradient, want) <= 2 * RELATIVE[dtype]


@pytest.mark.parametrize("name", CASES)
def test_explain_names_the_path_of_each_pass(name):
    case = CASES[name]
    text = lucid.metal.explain(case.layer, case.input_shape)
    output = case.layer(mx.zeros(case.input_shape)).shape
    assert text.startswith(f"{case.input_shape} -> {output}, float32\nforward: ")
    path = "Lucid's Metal kernels" if case.kernels else "patches"
    assert text.count(f": {path}\n") == 3
