"""Dry runs: `materialize` and `value_and_grad` make weights and move nothing else."""

import copy

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import mlx.optimizers
from mlx.utils import tree_flatten
import numpy as np
import pytest

from tests.nn.test_lazy import assert_lazy, lazy, same


class Net(nn.Module):
    """Two lazy layers with a dropout between and running statistics."""

    def __init__(self):
        super().__init__()
        self.first = nn.LazyConv3d(6, 3, padding=1)
        self.dropout = mlx.nn.Dropout(0.5)
        self.norm = mlx.nn.BatchNorm(5)
        self.second = nn.LazyConv3d(2, 1, groups=2)
        self.register_buffer("calls", mx.array(0))

    def forward(self, x):
        self.calls = self.calls + 1
        x = self.dropout(self.first(x))
        x = self.norm(x.reshape(-1, 5)).reshape(x.shape)
        return self.second(x)


def test_materialize_takes_shapes_and_arrays():
    for inputs in ((1, 4, 4, 4, 4), [1, 4, 4, 4, 4], lucid.zeros(1, 4, 4, 4, 4)):
        layer = nn.materialize(lazy(dtype="float16").float(), inputs)
        assert layer.in_channels == 4
    assert nn.materialize(lazy(), input=(4, 4, 4, 4)).in_channels == 4


def test_materialize_uses_the_models_dtype_for_shapes():
    layer = nn.materialize(nn.Sequential(lazy(dtype="bfloat16")), (1, 4, 4, 4, 4))
    assert layer[0].weight.dtype == mx.bfloat16


@pytest.mark.parametrize("training", [True, False])
def test_materialize_moves_the_weights_and_their_draws_alone(training):
    model = Net().train(training)
    model.norm.running_mean = mx.ones((5,))
    lucid.manual_seed(5)
    nn.materialize(model, (1, 3, 4, 4, 5))
    after = lucid.get_rng_state()
    assert model.calls.item() == 0
    assert same(model.norm.running_mean, mx.ones((5,)))
    assert model.training is training
    assert model.dropout.training is training
    lucid.manual_seed(5)
    first, second = nn.Conv3d(3, 6, 3), nn.Conv3d(6, 2, 1, groups=2)
    assert same(model.first.weight, first.weight)
    assert same(model.second.weight, second.weight)
    assert same(lucid.get_rng_state(), after)


def test_a_failing_materialize_leaves_everything_as_it_was():
    model = Net()
    key = lucid.get_rng_state()
    with pytest.raises(ValueError, match="reshape"):
        nn.materialize(model, (1, 3, 4, 4, 4))  # 384 numbers are no rows of 5
    assert_lazy(model.first, model.second)
    assert model.calls.item() == 0
    assert same(lucid.get_rng_state(), key)


def test_value_and_grad_has_every_gradient_at_the_first_step():
    model = Net()
    step = nn.value_and_grad(model, lambda x: model(x).square().mean())
    _, grads = step(lucid.ones(2, 3, 4, 4, 5))
    assert {name for name, _ in tree_flatten(grads)} == {
        *("first.weight", "first.bias", "second.weight", "second.bias"),
        *("norm.weight", "norm.bias"),
    }
    assert model.calls.item() == 1


def test_value_and_grad_trains_as_the_eager_twin_bit_for_bit():
    x = lucid.randn(2, 3, 4, 4, 5)
    model = Net()
    lucid.manual_seed(9)
    nn.materialize(model, x)
    twin, key = copy.deepcopy(model), lucid.get_rng_state()

    def train(net):
        optimizer = mlx.optimizers.Adam(1e-2)
        step = nn.value_and_grad(net, lambda x: net(x).square().mean())
        losses = []
        for _ in range(3):
            loss, grads = step(x)
            optimizer.update(net, grads)
            losses.append(loss.item())
        return losses, net.state_dict()

    lucid.manual_seed(9)
    lazily, weights = train(Net())
    lucid.set_rng_state(key)
    eagerly, expected = train(twin)
    assert lazily == eagerly
    assert all(same(weights[name], expected[name]) for name in expected)


def test_value_and_grad_passes_tuples_and_keywords_through():
    model = lazy()

    def loss(x, scale):
        y = model(x)
        return (y * scale).mean(), y

    (value, y), grads = nn.value_and_grad(model, loss)(
        lucid.ones(1, 2, 3, 3, 3), scale=2.0
    )
    assert value.item() == pytest.approx(2 * y.mean().item(), rel=1e-6)
    assert grads["weight"].shape == (4, 2, 3, 3, 3)


def test_value_and_grad_of_a_function_that_reaches_no_layer_names_them():
    model = nn.ModuleList([lazy(), lazy()])
    step = nn.value_and_grad(model, lambda x: x.sum())
    with pytest.raises(nn.UninitializedParameterError, match=": 0, 1"):
        step(lucid.ones(1, 2, 3, 3, 3))


@pytest.mark.parametrize("make", [lazy, lambda: nn.Conv3d(2, 4, 3)])
def test_a_loss_with_axes_is_refused_by_its_shape(make):
    conv, x = make(), lucid.ones(1, 2, 3, 3, 3)
    for fn in (conv, lambda x: (conv(x), 1)):
        with pytest.raises(ValueError, match=r"a scalar, got shape \(1, 4, 1, 1, 1\)"):
            nn.value_and_grad(conv, fn)(x)
    assert isinstance(conv, nn.LazyConv3d) == (conv.weight is None)


@pytest.mark.parametrize("weight", [np.float64(0.5), np.float32(0.5), np.ones(())])
def test_a_loss_that_became_numpys_is_refused(weight):
    conv, x = nn.Conv3d(2, 4, 3), lucid.ones(1, 2, 3, 3, 3)
    with pytest.raises(TypeError, match=r"no gradient.*loss \* weight"):
        nn.value_and_grad(conv, lambda x: weight * conv(x).mean())(x)
    half = nn.value_and_grad(conv, lambda x: conv(x).mean() * weight.item())(x)
    assert half[0].dtype == mx.float32


@pytest.mark.parametrize("model", [nn.Conv3d(2, 4, 3).freeze(), nn.ReLU()])
def test_a_model_with_nothing_to_train_is_refused(model):
    step = nn.value_and_grad(model, lambda x: model(x).sum())
    with pytest.raises(ValueError, match="nothing to train"):
        step(lucid.ones(1, 2, 3, 3, 3))


def test_an_error_of_the_loss_itself_stays_what_it_is():
    conv = nn.Conv3d(2, 4, 3)
    with pytest.raises(ValueError, match="`input` has 3 channels"):
        nn.value_and_grad(conv, lambda x: conv(x).sum())(lucid.ones(1, 3, 3, 3, 3))


def test_a_dry_run_leaves_other_models_of_the_function_alone_too():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", mx.array(0))

        def forward(self, x):
            self.calls = self.calls + 1
            return x

    model, other = nn.Sequential(lazy()), nn.Sequential(Counter())
    nn.value_and_grad(model, lambda x: model(other(x)).sum())(lucid.ones(1, 2, 3, 3, 3))
    assert other[0].calls.item() == 1


def test_layers_shared_and_nested_in_plain_lists_and_dicts_get_their_gradients():
    shared = nn.LazyConv3d(2, 1)

    class Tree(nn.Module):
        def __init__(self):
            super().__init__()
            self.branches = [{"a": shared}, [nn.Sequential(shared)]]

        def forward(self, x):
            return self.branches[1][0](self.branches[0]["a"](x))

    model = Tree()
    _, grads = nn.value_and_grad(model, lambda x: model(x).sum())(
        lucid.ones(1, 2, 1, 1, 1)
    )
    # Once, under its first name.
    names = {name for name, _ in tree_flatten(grads)}
    assert names == {"branches.0.a.weight", "branches.0.a.bias"}
    assert set(model.state_dict()) == {
        *("branches.0.a.weight", "branches.0.a.bias"),
        *("branches.1.0.0.weight", "branches.1.0.0.bias"),
    }


class UNet(nn.Module):
    def __init__(self, widths=(16, 32, 64)):
        super().__init__()
        self.down = nn.ModuleList(self.block(width) for width in widths)
        self.up = nn.ModuleList(self.block(width) for width in widths[-2::-1])
        self.head = nn.LazyConv3d(3, 1)

    @staticmethod
    def block(width: int) -> nn.Sequential:
        layers = (nn.LazyConv3d(width, 3, padding=1) for _ in range(2))
        return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))

    def forward(self, x):
        skips = []
        for block in self.down:
            x = block(x[:, :, ::2, ::2, ::2] if skips else x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            for axis in (2, 3, 4):
                x = mx.repeat(x, 2, axis=axis)
            x = block(mx.concatenate([x, skip], axis=1))
        return self.head(x)


def test_a_u_net_at_256_cubed_materializes_without_allocating():
    model = UNet()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    nn.materialize(model, (1, 1, 256, 256, 256))
    assert not nn.has_uninitialized_params(model)
    assert model.up[0][0].in_channels == 64 + 32
    assert mx.get_peak_memory() - before < 2**16
