"""An average follows its formula, and is never what it averages."""

from __future__ import annotations

import lucid
from lucid import nn, optim
import mlx.core as mx
import numpy as np
import pytest

X = mx.random.normal((2, 1, 4, 4, 4))


def train(model, average, steps: int) -> list[np.ndarray]:
    """The first layer's weight after each of the steps."""
    optimizer = optim.SGD(0.1)
    step = nn.value_and_grad(model, lambda: model(X).square().mean())
    weights = []
    for _ in range(steps):
        _, gradients = step()
        optimizer.update(model, gradients)
        average.update_parameters(model)
        weights.append(np.array(model.state_dict()["0.weight"]))
    return weights


@pytest.mark.parametrize("kind", ["eager", "lazy"])
def test_an_average_is_its_formula(kind):
    first = nn.Conv3d(1, 2, 3) if kind == "eager" else nn.LazyConv3d(2, 3)
    model = nn.Sequential(first, nn.Tanh(), nn.Conv3d(2, 1, 1))
    average = optim.ExponentialMovingAverage(model, 0.75)
    weights = train(model, average, 4)
    want = weights[0]
    for weight in weights[1:]:
        want = 0.75 * want + 0.25 * weight
    got = average.module.state_dict()["0.weight"]
    np.testing.assert_allclose(np.array(got), want, rtol=1e-5, atol=1e-7)
    assert average.n_averaged == 4
    assert not average.module.training
    assert mx.array_equal(average(X), average.module(X))


def test_shared_parameters_are_averaged_under_every_name():
    layer = nn.Conv3d(1, 1, 1)
    model = nn.Sequential(layer, layer)
    average = optim.ExponentialMovingAverage(model, 0.5)
    weights = train(model, average, 2)
    state = average.module.state_dict()
    assert list(state) == list(model.state_dict())
    for name in ("0.weight", "1.weight"):
        np.testing.assert_allclose(np.array(state[name]), sum(weights) / 2, rtol=1e-6)


def test_buffers_are_copies_of_the_models():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", mx.zeros(1))
            self.weight = nn.Parameter(mx.ones(1))

    model = Counting()
    average = optim.ExponentialMovingAverage(model, 0.5)
    for count in (1.0, 2.0):
        model.seen[...] = count
        average.update_parameters(model)
    model.seen[...] = 3.0
    model.weight[...] = 3.0
    assert average.module.seen.item() == 2
    assert average.module.weight.item() == 1


@pytest.mark.parametrize("decay", [-0.1, 1.5])
def test_decay_is_a_share(decay):
    with pytest.raises(ValueError, match="`decay`"):
        optim.ExponentialMovingAverage(nn.ReLU(), decay)


def test_what_is_averaged_is_a_module():
    with pytest.raises(TypeError, match="`model`"):
        optim.ExponentialMovingAverage({"weight": lucid.ones(1)})
