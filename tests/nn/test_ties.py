"""An array under several names is one: trained once, and the same under each."""

from __future__ import annotations

import copy
import functools
import pickle

import lucid
from lucid import nn, optim
import mlx.core as mx
import mlx.nn
import mlx.optimizers
from mlx.utils import tree_flatten, tree_map, tree_unflatten
import numpy as np
import pytest

X = lucid.ones(1, 2, 2, 2, 2)


class Tied(nn.Module):
    """Two convolutions with one weight."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 1)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


class TiedLists(nn.Module):
    """Arrays in plain lists, in MLX's module, and one that is its own."""

    def __init__(self):
        super().__init__()
        weight = mx.random.normal((2, 2))
        self.weights = [mx.random.normal((2, 2)), weight]
        self.linear = mlx.nn.Linear(2, 2, bias=False)
        self.linear.weight = weight

    def forward(self, x):
        return self.linear(x.reshape(-1, 2) @ self.weights[0] @ self.weights[1].T)


def loss(model):
    return lambda x: (model(x) - 1).square().mean()


def train(model, optimizer, steps=3):
    step = nn.value_and_grad(model, loss(model))
    for _ in range(steps):
        optimizer.update(model, step(X)[1])


def names(tree):
    return [name for name, _ in tree_flatten(tree)]


def assert_tied(model, count=3):
    assert mx.array_equal(model.a.weight, model.b.weight)
    assert len(model.named_parameters()) == count


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.SGD(0.1),
        lambda: optim.AdamW(0.1),
        lambda: mlx.optimizers.Adam(0.1),
        lambda: mlx.optimizers.Lion(0.1),
    ],
)
def test_tied_arrays_stay_tied_through_training(make):
    model, optimizer = Tied(), make()
    before = mx.array(model.a.weight)
    train(model, optimizer)
    assert_tied(model)
    assert not mx.array_equal(model.a.weight, before)


def test_the_gradient_is_the_sum_over_both_uses():
    model = Tied()
    _, grads = nn.value_and_grad(model, loss(model))(X)
    assert names(grads) == ["a.weight", "a.bias", "b.bias"]
    weight, first, second = (
        np.array(array, float) for array in (model.a.weight, model.a.bias, model.b.bias)
    )
    matrix, x, step = weight.reshape(2, 2), np.ones((2, 8)), 1e-6

    def value(matrix):
        y = matrix @ (matrix @ x + first[:, None]) + second[:, None]
        return ((y - 1) ** 2).mean()

    for i in np.ndindex(2, 2):
        shift = np.zeros((2, 2))
        shift[i] = step
        slope = (value(matrix + shift) - value(matrix - shift)) / (2 * step)
        got = grads["a"]["weight"].reshape(2, 2)[i].item()
        assert got == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_an_optimizer_has_one_state_for_each_array():
    model, optimizer = Tied(), optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    train(model, optimizer)
    moments = [name for name in names(optimizer.state) if name.endswith(".m")]
    assert moments == ["a.weight.m", "a.bias.m", "b.bias.m"]
    optimizer.state = tree_unflatten(tree_flatten(optimizer.state))
    train(model, optimizer)
    assert_tied(model)


def test_casts_and_loads_keep_ties_whichever_module_they_are_asked_of():
    model = Tied()
    for part in (model, model.a, model.b):
        part.half()
        assert model.a.weight.dtype == model.b.weight.dtype == mx.float16
        part.float()
        assert_tied(model)
    for i, part in enumerate((model, model.a, model.b)):
        state = {k: mx.full(v.shape, float(i)) for k, v in part.state_dict().items()}
        part.load_state_dict(state)
        assert (model.a.weight == i).all()
        assert_tied(model)


def test_what_is_tied_is_saved_under_each_name_and_loaded_from_any():
    model = Tied()
    assert list(model.state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    for name in ("a.weight", "b.weight"):
        state = {**model.state_dict(), name: mx.ones((2, 2, 1, 1, 1))}
        state.pop({"a.weight": "b.weight", "b.weight": "a.weight"}[name])
        assert model.load_state_dict(state) == ([], [])
        assert (model.a.weight == 1).all()
        assert_tied(model)
    fresh = Tied()
    fresh.load_weights(tree_flatten(model.parameters()))
    assert mx.array_equal(fresh.b.weight, model.b.weight)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_copies_have_ties_of_their_own(duplicate):
    model = Tied()
    train(model, optim.SGD(0.1), 1)
    weight = mx.array(model.a.weight)
    twin = duplicate(model)
    train(twin, optim.SGD(0.1), 1)
    assert_tied(twin)
    assert mx.array_equal(model.a.weight, weight)


def test_a_copied_part_is_on_its_own():
    model = Tied()
    train(model, optim.SGD(0.1), 1)
    part = copy.deepcopy(model.b)
    assert names(part.trainable_parameters()) == ["weight", "bias"]
    part.load_state_dict({k: mx.zeros_like(v) for k, v in part.state_dict().items()})
    assert mx.abs(model.b.weight).sum() > 0
    assert_tied(model)


@pytest.mark.parametrize("seen_before", [False, True])
def test_tied_arrays_stay_tied_in_a_compiled_step(seen_before):
    mx.random.seed(1)
    model, eager = Tied(), Tied()
    eager.load_state_dict(model.state_dict())
    optimizer = optim.SGD(0.1)
    if seen_before:
        optimizer.init(model.trainable_parameters())
    step = nn.value_and_grad(model, loss(model))
    state = [model.state, optimizer.state]

    @functools.partial(mx.compile, inputs=state, outputs=state)
    def compiled(x):
        value, grads = step(x)
        optimizer.update(model, grads)
        return value

    for _ in range(3):
        compiled(X)
    train(eager, optim.SGD(0.1), 3)
    assert_tied(model)
    for name, array in eager.state_dict().items():
        assert mx.allclose(array, model.state_dict()[name], atol=1e-6), name
    train(model, optimizer, 1)
    assert_tied(model)


def test_an_assignment_unties():
    model = Tied()
    train(model, optim.SGD(0.1), 1)
    model.b.weight = mx.zeros((2, 2, 1, 1, 1))
    assert len(model.named_parameters()) == 4
    assert mx.abs(model.a.weight).sum() > 0
    train(model, optim.SGD(0.1), 2)
    assert not mx.array_equal(model.a.weight, model.b.weight)
    model.a.weight = model.b.weight
    assert_tied(model)


def test_a_change_in_place_is_a_change_of_both():
    model = Tied()
    train(model, optim.SGD(0.1), 1)
    nn.init.zeros_(model.b.weight)
    model.a.weight += 1
    assert (model.b.weight == 1).all()
    assert_tied(model)


def test_equal_arrays_are_not_tied():
    model = nn.Sequential(nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 1))
    for layer in model:
        nn.init.zeros_(layer.bias)
    assert len(model.named_parameters()) == 4
    train(model, optim.SGD(0.1))
    assert not mx.array_equal(model[0].bias, model[1].bias)


def test_frozen_under_one_name_is_frozen():
    model = Tied()
    model.b.freeze()
    assert names(model.trainable_parameters()) == ["a.bias"]
    weight = mx.array(model.a.weight)
    train(model, optim.SGD(0.1))
    assert mx.array_equal(model.a.weight, weight)
    model.unfreeze()
    assert names(model.trainable_parameters()) == ["a.weight", "a.bias", "b.bias"]


def test_arrays_in_lists_and_in_mlxs_modules_are_tied_too():
    model = TiedLists()
    assert names(model.trainable_parameters()) == ["weights.0", "weights.1"]
    optimizer = optim.Adam(0.1)
    train(model, optimizer)
    assert mx.array_equal(model.weights[1], model.linear.weight)
    model.half()
    assert mx.array_equal(model.weights[1], model.linear.weight)
    assert list(model.state_dict()) == ["weights.0", "weights.1", "linear.weight"]


def test_buffers_are_tied_too():
    model = nn.Module()
    mean = mx.zeros((2,))
    model.register_buffer("mean", mean)
    model.register_buffer("center", mean)
    assert [name for name, _ in model.named_buffers()] == ["mean"]
    model.load_state_dict({"center": mx.ones((2,))}, strict=False)
    assert (model.mean == 1).all()


def test_trees_of_arrays_update_ties_by_hand():
    model = Tied()
    model.update(tree_map(lambda x: x * 0 + 3, model.trainable_parameters()))
    assert (model.b.weight == 3).all()
    assert_tied(model)


class Shared(nn.Module):
    """As nnU-Net's decoder, which holds the encoder too and its heads twice."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv3d(2, 2, 1), nn.ReLU())
        self.decoder = nn.Module()
        self.decoder.encoder = self.encoder
        self.decoder.head = nn.Conv3d(2, 1, 1)
        self.decoder.all_heads = nn.ModuleList([self.decoder.head])

    def forward(self, x):
        return self.decoder.head(self.encoder(x))


def test_a_module_under_several_names_is_trained_once_and_saved_under_each():
    model, optimizer = Shared(), optim.Adam(0.1)
    assert names(model.trainable_parameters()) == [
        *("encoder.layers.0.weight", "encoder.layers.0.bias"),
        *("decoder.head.weight", "decoder.head.bias"),
    ]
    assert len(model.state_dict()) == 8
    train(model, optimizer)
    assert sum(name.endswith(".m") for name in names(optimizer.state)) == 4
    fresh = Shared()
    fresh.load_state_dict(model.state_dict())
    assert mx.array_equal(fresh(X), model(X))
    assert fresh.decoder.encoder is fresh.encoder


def test_an_update_of_weight_decay_happens_once():
    model, optimizer = Shared(), optim.AdamW(0.1, weight_decay=0.5)
    weight = np.array(model.encoder[0].weight)
    zeros = tree_map(mx.zeros_like, model.trainable_parameters())
    optimizer.update(model, zeros)
    got = np.array(model.encoder[0].weight)
    np.testing.assert_allclose(got, weight * (1 - 0.1 * 0.5), rtol=1e-6)


@pytest.mark.parametrize("kind", [list, nn.ParameterList])
def test_arrays_that_move_in_a_list_change_no_other(kind):
    model = nn.Module()
    weight = mx.ones(2)
    model.weight = weight
    model.weights = kind([mx.zeros(2), weight, mx.full((2,), 2.0)])
    model.weights = kind(model.weights)
    assert len(model.named_parameters()) == 3
    del model.weights[0]
    assert len(model.named_parameters()) == 2
    assert model.weight.tolist() == [1.0, 1.0]
    assert model.weights[1].tolist() == [2.0, 2.0]
    model.half()
    assert model.weights[0] is model.weight


@pytest.mark.parametrize("which", ["a", "b", "ab"])
def test_checkpointed_modules_have_the_same_gradients(which):
    model = Tied()
    _, plain = nn.value_and_grad(model, loss(model))(X)

    def forward(x):
        for name in "ab":
            part = getattr(model, name)
            x = (mlx.nn.utils.checkpoint(part) if name in which else part)(x)
        return (x - 1).square().mean()

    _, grads = nn.value_and_grad(model, forward)(X)
    assert names(grads) == names(plain)
    for (name, got), (_, want) in zip(
        tree_flatten(grads), tree_flatten(plain), strict=True
    ):
        assert mx.allclose(got, want, atol=1e-6), name
