"""Lucid against PyTorch in float64: every option, gradients, initializers, names."""

from __future__ import annotations

from collections.abc import Callable
import itertools
from typing import Any

import lucid
from lucid import nn
from lucid.nn import init
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest
import torch

from tests.oracle import MODES, Problem, direct, random_problem, to_mlx, uniform
from tests.oracle.tolerances import assert_close

torch.set_num_threads(2)

# PyTorch warns that an even kernel's 'same' may copy.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


def to_torch(arrays: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.tensor(array).double().requires_grad_() for array in arrays]


def torch_function(case: Problem) -> Callable[..., torch.Tensor]:
    """PyTorch's Conv3d as a function of x, weight and, if there is one, bias."""
    o, per_group, *kernel = case.weight_shape
    layer = torch.nn.Conv3d(
        per_group * case.groups, o, tuple(kernel), bias=case.bias, **case.options
    )

    def call(x, *parameters):
        values = dict(zip(("weight", "bias"), parameters, strict=False))
        return torch.func.functional_call(layer, values, (x,))

    return call


def random_problems(seed: int, count: int) -> list[Problem]:
    rng = np.random.default_rng(seed)
    return [random_problem(rng) for _ in range(count)]


@pytest.mark.usefixtures("computed_by")
@pytest.mark.parametrize("seed", range(10))
def test_output_and_gradients_equal_pytorchs(seed):
    rng = np.random.default_rng(seed)
    for case in random_problems(seed, 60):
        arrays = case.draw(rng)
        inputs = to_torch(arrays)
        output = torch_function(case)(*inputs)
        cotangent = uniform(rng, output.shape)
        exact = torch.autograd.grad(output, inputs, torch.tensor(cotangent).double())
        (got,), gradients = mx.vjp(case.function, to_mlx(arrays), to_mlx([cotangent]))
        assert_close(got, output.detach().numpy(), f"output of {case}")
        for gradient, expected in zip(gradients, exact, strict=True):
            assert_close(gradient, expected.numpy(), f"a gradient of {case}")


@pytest.mark.parametrize("seed", range(4))
def test_the_two_oracles_agree(seed):
    """In float64, to its rounding."""
    rng = np.random.default_rng(seed)
    for case in random_problems(1000 + seed, 50):
        arrays = case.draw(rng)
        inputs = to_torch(arrays)
        output = torch_function(case)(*inputs)
        cotangent = rng.standard_normal(output.shape)
        theirs = torch.autograd.grad(output, inputs, torch.tensor(cotangent))
        got = direct.conv3d(*arrays, **case.options)
        np.testing.assert_allclose(got, output.detach().numpy(), rtol=1e-12)
        ours = direct.conv3d_gradients(*arrays[:2], cotangent, **case.options)
        for a, b in zip(ours, theirs, strict=False):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("computed_by")
@pytest.mark.parametrize("seed", range(4))
def test_double_backward_equals_pytorchs(seed):
    """The gradients of sum(dx^2) + sum(dw^2), dx and dw those of sum(y^2)."""
    rng = np.random.default_rng(seed)
    for case in random_problems(2000 + seed, 40):
        arrays = case.draw(rng)
        # The squares of long sums grow beyond float32's range; a mean of them does not.
        arrays[1] /= arrays[1].size
        inputs = to_torch(arrays)
        inner = torch_function(case)(*inputs).square().mean()
        first = torch.autograd.grad(inner, inputs[:2], create_graph=True)
        exact = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

        def outer(*xs, case=case):
            loss = mx.grad(lambda *xs: case.function(*xs).square().mean(), (0, 1))
            return sum(g.square().sum() for g in loss(*xs))

        argnums = tuple(range(len(arrays)))
        got = mx.grad(outer, argnums)(*to_mlx(arrays))
        for gradient, expected in zip(got, exact, strict=True):
            assert_close(gradient, expected.numpy(), f"a second gradient of {case}")


PADS: list[tuple[int, ...]] = [
    (1, 2),
    (3, 0, 2, 1),
    (1, 2, 0, 3, 2, 1),
    (-1, 2, 1, -2, 0, 1),
    (-1, -2, -1, 0, 0, -1),
]


@pytest.mark.parametrize("pad", PADS, ids=str)
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_equals_pytorchs(mode, pad):
    rng = np.random.default_rng(0)
    # PyTorch wants two axes more than are padded for the modes other than constant.
    shape = (2, 3, 4, 5, 4)[: 2 + len(pad) // 2]
    x = uniform(rng, shape)
    (tensor,) = to_torch([x])
    theirs = torch.nn.functional.pad(tensor, pad, mode)
    cotangent = uniform(rng, theirs.shape)
    (exact,) = torch.autograd.grad(theirs, tensor, torch.tensor(cotangent).double())
    (got,), (gradient,) = mx.vjp(
        lambda x: F.pad(x, pad, mode), to_mlx([x]), to_mlx([cotangent])
    )
    np.testing.assert_array_equal(np.array(got), theirs.detach().numpy())
    assert_close(gradient, exact.numpy(), "dx")


def test_pad_value_equals_pytorchs():
    x = np.ones((2, 3), np.float32)
    theirs = torch.nn.functional.pad(torch.tensor(x), (1, 0, 0, 2), value=-7.5)
    assert F.pad(mx.array(x), (1, 0, 0, 2), value=-7.5).tolist() == theirs.tolist()


GAINS = ["linear", "conv1d", "conv2d", "conv3d", "sigmoid", "tanh", "relu", "selu"]
GAIN_ARGUMENTS = [(name,) for name in GAINS]
GAIN_ARGUMENTS += [("leaky_relu", slope) for slope in (None, 0, 0.01, 0.2, 1, -1)]


@pytest.mark.parametrize("arguments", GAIN_ARGUMENTS, ids=str)
def test_gains_equal_pytorchs(arguments):
    want = torch.nn.init.calculate_gain(*arguments)
    assert init.calculate_gain(*arguments) == pytest.approx(want, rel=1e-15)


INITIALIZERS: list[tuple[str, dict[str, Any]]] = [
    ("uniform_", {"a": -2, "b": 3}),
    ("normal_", {"mean": 1, "std": 3}),
    ("constant_", {"val": 0.3}),
    ("zeros_", {}),
    ("ones_", {}),
    *[(f"xavier_{kind}_", {"gain": 3}) for kind in ("uniform", "normal")],
    *[
        (f"kaiming_{kind}_", options)
        for kind in ("uniform", "normal")
        for options in (
            {},
            {"a": 2},
            {"mode": "fan_out"},
            {"nonlinearity": "relu", "mode": "fan_out"},
            {"nonlinearity": "selu"},
        )
    ],
]


@pytest.mark.parametrize(("name", "options"), INITIALIZERS, ids=str)
@pytest.mark.parametrize("shape", [(64, 16, 3, 3, 3), (96, 300)], ids=str)
def test_initializers_draw_from_pytorchs_distribution(name, options, shape):
    lucid.manual_seed(0)
    torch.manual_seed(0)
    got = np.array(getattr(init, name)(lucid.zeros(shape), **options), float)
    want = getattr(torch.nn.init, name)(torch.zeros(shape), **options).double().numpy()
    spread = want.std()
    # 27648 numbers or more: the moments are within 2 %.
    assert got.std() == pytest.approx(spread, rel=0.02)
    assert got.mean() == pytest.approx(want.mean(), abs=1e-6 + 0.03 * spread)
    if "normal" not in name:
        ends = (want.min(), want.max())
        assert (got.min(), got.max()) == pytest.approx(ends, abs=0.002 * spread)


@pytest.mark.parametrize(
    ("channels", "out", "kernel", "groups"),
    [(8, 256, 3, 1), (8, 256, (1, 2, 4), 4), (64, 64, 5, 64)],
)
def test_a_new_layers_weights_have_pytorchs_bounds(channels, out, kernel, groups):
    lucid.manual_seed(0)
    torch.manual_seed(0)
    ours = nn.Conv3d(channels, out, kernel, groups=groups)
    theirs = torch.nn.Conv3d(channels, out, kernel, groups=groups)
    for got, want in zip(
        (ours.weight, ours.bias), (theirs.weight, theirs.bias), strict=True
    ):
        assert got.shape == tuple(want.shape)
        # 64 numbers at least: the largest is close to the end of the interval.
        largest = want.abs().max().item()
        assert mx.abs(got).max().item() == pytest.approx(largest, rel=0.1)


SLOPED = {"leaky_relu": {"negative_slope": 0.2}, "gelu": {"approximate": "tanh"}}
ACTIVATIONS = [
    *[
        (name, {})
        for name in F.__all__
        if getattr(F, name).__module__ == "lucid.nn.functional.activation"
        and name not in ("prelu", "softmax", "log_softmax")
    ],
    *SLOPED.items(),
    *[(n, {"dim": dim}) for n in ("softmax", "log_softmax") for dim in (0, 1, -1)],
]


@pytest.mark.parametrize(("name", "options"), ACTIVATIONS, ids=str)
def test_activations_equal_pytorchs(name, options):
    rng = np.random.default_rng(0)
    x = rng.uniform(-4, 4, (3, 4, 5)).astype(np.float32)
    cotangent = uniform(rng, x.shape)
    (tensor,) = to_torch([x])
    theirs = getattr(torch.nn.functional, name)(tensor, **options)
    (exact,) = torch.autograd.grad(theirs, tensor, torch.tensor(cotangent).double())
    (got,), (gradient,) = mx.vjp(
        lambda x: getattr(F, name)(x, **options), to_mlx([x]), to_mlx([cotangent])
    )
    assert_close(got, theirs.detach().numpy(), "output")
    assert_close(gradient, exact.numpy(), "dx")


LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *[(name, (), {}) for name in ("ReLU", "GELU", "SiLU", "Sigmoid", "Tanh")],
    *[(name, (), {"inplace": True}) for name in ("ReLU", "SiLU", "LeakyReLU")],
    ("GELU", ("tanh",), {}),
    ("LeakyReLU", (0.3,), {}),
    ("Softmax", (1,), {}),
    ("Softmax", (), {"dim": -2}),
]


@pytest.mark.parametrize(("name", "arguments", "options"), LAYERS, ids=str)
def test_activation_layers_are_shown_as_pytorchs(name, arguments, options):
    ours = getattr(nn, name)(*arguments, **options)
    assert repr(ours) == repr(getattr(torch.nn, name)(*arguments, **options))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [0, 1, (0, 1, 2), (0, 0, 0), "same", "valid"])
def test_conv3d_is_shown_as_pytorchs(padding, mode):
    kernels, strides, dilations = (3, (1, 2, 3)), (1, 2, (1, 2, 1)), (1, (1, 2, 3))
    for kernel, stride, dilation, groups, bias in itertools.product(
        kernels, strides, dilations, (1, 2), (True, False)
    ):
        if padding == "same" and stride != 1:
            continue
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        options |= {"groups": groups, "bias": bias, "padding_mode": mode}
        ours = nn.Conv3d(4, 6, kernel, **options)
        theirs = torch.nn.Conv3d(4, 6, kernel, **options)
        assert ours.extra_repr() == theirs.extra_repr()
        assert repr(ours) == repr(theirs)


def networks(module: Any, first: Any) -> Any:
    """The same network in either library, from its first layer on."""
    return module.Sequential(
        first,
        module.LeakyReLU(0.1),
        module.Conv3d(
            8, 8, (1, 3, 2), padding="same", groups=4, padding_mode="reflect"
        ),
        module.GELU(),
        module.Sequential(
            module.Conv3d(8, 16, 3, 2, 1, groups=8, bias=False),
            module.SiLU(),
            module.Conv3d(16, 4, 2, dilation=2, padding=1, padding_mode="circular"),
        ),
        module.Flatten(),
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_a_pytorch_state_dict_gives_pytorchs_output(lazy):
    theirs = networks(torch.nn, torch.nn.Conv3d(3, 8, 3, padding=1))
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    first = nn.LazyConv3d(8, 3, padding=1) if lazy else nn.Conv3d(3, 8, 3, padding=1)
    ours = networks(nn, first)
    assert ours.load_state_dict(state) == ([], [])
    assert list(ours.state_dict()) == list(state)
    x = uniform(np.random.default_rng(0), (2, 3, 6, 5, 7))
    want = theirs.double()(torch.tensor(x).double())
    assert_close(ours(mx.array(x)), want.detach().numpy(), "output")


def test_a_lucid_state_dict_gives_lucids_output():
    ours = networks(nn, nn.Conv3d(3, 8, 3, padding=1))
    theirs = networks(torch.nn, torch.nn.Conv3d(3, 8, 3, padding=1))
    state = {k: torch.tensor(np.array(v)) for k, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    x = uniform(np.random.default_rng(0), (2, 3, 6, 5, 7))
    want = theirs.double()(torch.tensor(x).double())
    assert_close(ours(mx.array(x)), want.detach().numpy(), "output")
