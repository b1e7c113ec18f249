"""On a GPU, what is channels-last in memory stays so, from layer to layer."""

from __future__ import annotations

from collections.abc import Callable

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.metal_emulator.copies import counted_copies, strides_of
from tests.metal_emulator.emulation import emulated_metal

GRID = mx.array(np.random.default_rng(1).uniform(-1, 1, (2, 3, 4, 5, 3)), mx.float32)
SLOPES = mx.array([0.1, 0.2, 0.3, 0.4])
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
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "prelu": lambda x: F.prelu(x, SLOPES),
    "gelu": F.gelu,
    "silu": F.silu,
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "softplus": F.softplus,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "softmax of channels": lambda x: F.softmax(x, 1),
    "log_softmax of depths": lambda x: F.log_softmax(x, 2),
    "cat of channels": lambda x: lucid.cat([x, channels_last(1)], 1),
    "cat of widths": lambda x: lucid.cat([channels_last(1), x], -1),
}


def channels_last(seed: int) -> mx.array:
    """(N, C, D, H, W), seen of memory (N, D, H, W, C)."""
    drawn = np.random.default_rng(seed).standard_normal((2, 6, 7, 8, 4))
    return mx.array(drawn.astype(np.float32)).transpose(0, 4, 1, 2, 3)


def is_channels_last(x: mx.array) -> bool:
    strides = strides_of(x)
    return strides[1] == 1 and max(strides[1:]) == strides[2]


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


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_are_those_of_the_cpu(name):
    """Of channels-first memory on either, and of channels-last."""

    def results(x: mx.array) -> list[mx.array]:
        mx.random.seed(0)
        gradient = mx.grad(lambda x: FUNCTIONS[name](x).square().sum())(x)
        return [] if "dropout" in name else [FUNCTIONS[name](x), gradient]

    x = channels_last(0)
    want = results(x)
    with emulated_metal():
        for memory in (x, mx.contiguous(x)):
            for got, exact in zip(results(memory), want, strict=True):
                np.testing.assert_allclose(got, exact, rtol=2e-4, atol=1e-5)


def conv(c: int = 4, kernel_size: int = 3, groups: int = 1) -> nn.Conv3d:
    return nn.Conv3d(c, 4, kernel_size, padding=kernel_size // 2, groups=groups)


class Residual(nn.Module):
    """A block whose sum is the user's."""

    def __init__(self, activation: Callable[[mx.array], mx.array]) -> None:
        super().__init__()
        self.convs = [conv(), conv(), conv(), conv()]
        self.activation = activation

    def forward(self, x: mx.array) -> mx.array:
        first, second, third, last = self.convs
        y = self.activation(second(first(x)))
        return last(y + self.activation(third(y)))


class Level(nn.Module):
    """Of a U-Net: down, up again, and joined with what was there."""

    def __init__(self, up: nn.Module) -> None:
        super().__init__()
        self.here, self.below, self.joined = conv(), conv(), conv(8)
        self.down, self.up = nn.MaxPool3d(2), up

    def forward(self, x: mx.array) -> mx.array:
        here = F.leaky_relu(self.here(x))
        up = self.up(F.leaky_relu(self.below(self.down(here))))
        return F.leaky_relu(self.joined(lucid.cat([here, up], 1)))


def separable() -> nn.Module:
    return nn.Sequential(
        conv(groups=4), nn.BatchNorm3d(4), nn.SiLU(), conv(kernel_size=1), nn.GELU()
    )


# Each reads its input and its output's gradient several times.
READERS: dict[str, Callable[[mx.array], mx.array]] = {
    "conv3d": lambda x: F.conv3d(x, mx.ones((4, 4, 1, 2, 3)), padding=(0, 1, 1)),
    "conv_transpose3d": lambda x: F.conv_transpose3d(x, mx.ones((4, 1, 3, 1, 3))),
    **{name: FUNCTIONS[name] for name in ("batch_norm", "instance_norm", "group_norm")},
    "batch_norm of eval()": lambda x: F.batch_norm(x, mx.zeros(4), mx.ones(4)),
}


@pytest.mark.parametrize("name", READERS)
def test_channels_first_memory_is_copied_once_for_all_who_read_it(name):
    function, x = READERS[name], mx.contiguous(channels_last(0))
    with emulated_metal():
        dy = mx.contiguous(mx.ones(function(x).shape) * x[0, 0, 0, 0, 0])
        mx.eval(mx.vjp(function, [x], [dy]))  # checks the kernels
        with counted_copies(smallest=x.nbytes // 8) as copies:
            mx.eval(mx.vjp(function, [x], [dy]))
    assert copies.nbytes <= x.nbytes + dy.nbytes, copies.found


# The copies of a training step, in inputs, beside each weight's: that of the input
# itself, which a user has channels-first, is one.
STEPS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "convolutions": (
        lambda: nn.Sequential(*[m for _ in range(3) for m in (conv(), nn.ReLU())]),
        1,
    ),
    # MLX writes the sum channels-first.
    "residual block": (lambda: Residual(F.relu), 2),
    # And the sum of the gradients that reach a convolution from both its readers.
    "residual block, linear": (lambda: Residual(lambda x: x), 3),
    # The gradient of what is joined has gaps between the channels of either.
    "U-Net level, trilinear": (
        lambda: Level(nn.Upsample(scale_factor=2, mode="trilinear")),
        2,
    ),
    "U-Net level, nearest": (lambda: Level(nn.Upsample(scale_factor=2)), 2),
    "U-Net level, transposed": (
        lambda: Level(nn.ConvTranspose3d(4, 4, 3, 2, padding=1, output_padding=1)),
        2,
    ),
    # Its patches are put in place once and gathered once.
    "U-Net level, doubled": (lambda: Level(nn.ConvTranspose3d(4, 4, 2, 2)), 3),
    "separable convolution": (separable, 1),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_training_step_copies_its_input_and_each_weight_once(name):
    make, most = STEPS[name]
    lucid.manual_seed(0)
    model, x = make(), lucid.randn(2, 4, 4, 6, 8)
    mx.eval(model.parameters())
    step = nn.value_and_grad(model, lambda x: model(x).square().mean())
    with emulated_metal() as emulation:
        mx.eval(step(x))  # checks the kernels
        with counted_copies(smallest=100) as copies:
            mx.eval(step(x))
    assert emulation.names
    assert emulation.twins == []
    volumes = [copy.nbytes for copy in copies.found if copy.shape[0] == 2]
    assert sum(volumes) <= most * x.nbytes, copies.found
    weights = [w for w in model.state_dict().values() if w.ndim == 5]
    assert len(copies.found) - len(volumes) <= len(weights), copies.found
