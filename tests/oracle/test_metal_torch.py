"""The path of a GPU, its kernels in the emulator, against PyTorch in float64."""

from __future__ import annotations

import dataclasses
import itertools

from lucid import nn
import mlx.core as mx
from mlx.utils import tree_flatten
import numpy as np
import pytest
import torch

from tests.metal_emulator import emulated_metal
from tests.oracle import Problem, random_problem, to_mlx, uniform
from tests.oracle.test_torch import networks, to_torch, torch_function
from tests.oracle.tolerances import assert_close

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")

# (groups, input channels, output channels of a group): every path and tile.
CHANNELS = [
    *[(4, 1, 1), (8, 1, 1), (3, 1, 1), (2, 1, 4), (4, 1, 2)],
    *[(2, 4, 4), (1, 4, 8), (2, 3, 4), (1, 1, 8), (2, 8, 3)],
    *[(1, 16, 16), (1, 18, 16), (2, 16, 16), (1, 5, 1), (1, 3, 5)],
]


def random_problems(seed: int, count: int) -> list[Problem]:
    """Any options, with channels that the kernels and MLX's matrices tell apart."""
    rng = np.random.default_rng(seed)
    channels = itertools.islice(itertools.cycle(CHANNELS), seed * count, None)
    problems = []
    for (g, c, o), case in zip(
        channels, (random_problem(rng) for _ in range(count)), strict=False
    ):
        *batch, _, d, h, w = case.input_shape
        shape, kernel = (*batch, g * c, d, h, w), case.weight_shape[2:]
        problems.append(
            dataclasses.replace(
                case, input_shape=shape, weight_shape=(g * o, c, *kernel), groups=g
            )
        )
    return problems


@pytest.mark.parametrize("seed", range(8))
def test_output_and_gradients_equal_pytorchs(seed):
    rng = np.random.default_rng(seed)
    for case in random_problems(seed, 15):
        arrays = case.draw(rng)
        inputs = to_torch(arrays)
        output = torch_function(case)(*inputs)
        cotangent = uniform(rng, output.shape)
        exact = torch.autograd.grad(output, inputs, torch.tensor(cotangent).double())
        with emulated_metal() as emulation:
            (got,), gradients = mx.vjp(
                case.function, to_mlx(arrays), to_mlx([cotangent])
            )
            mx.eval(got, gradients)
        assert_close(got, output.detach().numpy(), f"output of {case}")
        for gradient, expected in zip(gradients, exact, strict=True):
            assert_close(gradient, expected.numpy(), f"a gradient of {case}")
        assert emulation.type_errors() == []


@pytest.mark.parametrize("seed", range(4))
def test_double_backward_equals_pytorchs(seed):
    """The gradients of sum(dx^2) + sum(dw^2), dx and dw those of mean(y^2)."""
    rng = np.random.default_rng(seed)
    for case in random_problems(100 + seed, 15):
        arrays = case.draw(rng)
        arrays[1] /= arrays[1].size
        inputs = to_torch(arrays)
        inner = torch_function(case)(*inputs).square().mean()
        first = torch.autograd.grad(inner, inputs[:2], create_graph=True)
        exact = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

        def outer(*xs, case=case):
            loss = mx.grad(lambda *xs: case.function(*xs).square().mean(), (0, 1))
            return sum(g.square().sum() for g in loss(*xs))

        with emulated_metal() as emulation:
            got = mx.grad(outer, tuple(range(len(arrays))))(*to_mlx(arrays))
            mx.eval(got)
        for gradient, expected in zip(got, exact, strict=True):
            assert_close(gradient, expected.numpy(), f"a second gradient of {case}")
        assert emulation.twins == []


def test_layers_give_pytorchs_output_and_gradients():
    theirs = networks(torch.nn, torch.nn.Conv3d(3, 8, 3, padding=1)).double()
    ours = networks(nn, nn.LazyConv3d(8, 3, padding=1))
    state = {k: v.float().numpy() for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    x = uniform(np.random.default_rng(0), (2, 3, 6, 5, 7))
    output = theirs(torch.tensor(x).double())
    exact = torch.autograd.grad(output.square().mean(), list(theirs.parameters()))
    with emulated_metal() as emulation:
        step = nn.value_and_grad(ours, lambda x: ours(x).square().mean())
        loss, gradients = step(mx.array(x))
        mx.eval(loss, gradients)
    assert_close(loss, np.array(output.square().mean().item()), "loss")
    got = {
        name.replace("layers.", ""): gradient
        for name, gradient in tree_flatten(gradients)
    }
    names = [name for name, _ in theirs.named_parameters()]
    assert sorted(got) == sorted(names)
    for name, expected in zip(names, exact, strict=True):
        assert_close(got[name], expected.numpy(), name)
    assert {"conv_forward", "conv_input_gradient"} <= set(emulation.names)
