"""The contract of a layer with arrays, and of its lazy twin, by layers made here."""

import copy
import pickle
from typing import ClassVar

import lucid
from lucid import nn
from lucid.nn._layer import Layer
import mlx.core as mx
import mlx.nn
from mlx.utils import tree_flatten
import numpy as np
import pytest

X = lucid.randn(2, 3, 5, 4, 4)


class PlaneNorm(Layer):
    """Like a batch norm, with statistics of each channel of each plane."""

    buffer_dtypes: ClassVar = {
        "running_mean": None,
        "running_var": None,
        "num_batches_tracked": "int64",
    }

    def __init__(self, channels, planes, affine=True, device=None, dtype=None):
        super().__init__()
        self.channels = self._size("channels", channels)
        self.planes = self._size("planes", planes)
        self.affine = affine
        if not affine:
            self.weight = self.bias = None
        self._create_arrays(device, dtype)

    def parameter_shapes(self):
        size = (self.channels, self.planes)
        affine = {"weight": size, "bias": size} if self.affine else {}
        statistics = {"running_mean": size, "running_var": size}
        return affine | statistics | {"num_batches_tracked": ()}

    def reset_parameters(self):
        if self.affine:
            nn.init.normal_(self.weight)
            nn.init.zeros_(self.bias)
        nn.init.ones_(self.running_var)

    def infer(self, input):
        if input.ndim != 5:
            raise ValueError("`input` must be 5-D.")
        return {"channels": input.shape[1], "planes": input.shape[2]}

    def sizes_from(self, values):
        for name in ("weight", "running_mean"):
            if name in values:
                return dict(
                    zip(("channels", "planes"), values[name].shape, strict=True)
                )
        return None

    def forward(self, input):
        with self._on_device():
            if self.training:
                mean, var = input.mean((0, 3, 4)), input.var((0, 3, 4))
                self.running_mean = 0.9 * self.running_mean + 0.1 * mean
                self.running_var = 0.9 * self.running_var + 0.1 * var
                self.num_batches_tracked = self.num_batches_tracked + 1
            mean, var = self.running_mean, self.running_var
            y = (input - mean[..., None, None]) * mx.rsqrt(var[..., None, None] + 1e-5)
            if self.affine:
                y = y * self.weight[..., None, None] + self.bias[..., None, None]
            return y


class LazyPlaneNorm(nn.LazyModule, PlaneNorm):
    def __init__(self, affine=True, device=None, dtype=None):
        super().__init__(0, 0, affine, device=device, dtype=dtype)


class Center(Layer):
    """Like an instance norm that has no parameters, only a size."""

    def __init__(self, channels, device=None):
        super().__init__()
        self.channels = self._size("channels", channels)
        self._create_arrays(device, None)

    def infer(self, input):
        return {"channels": input.shape[1]}

    def forward(self, input):
        if input.shape[1] != self.channels:
            raise ValueError(f"`input` must have {self.channels} channels.")
        return input - input.mean((2, 3, 4), keepdims=True)


class LazyCenter(nn.LazyModule, Center):
    def __init__(self, device=None):
        super().__init__(0, device=device)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all((a[n] == b[n]).all() for n in a)


@pytest.mark.parametrize("affine", [True, False])
def test_a_lazy_twin_becomes_what_the_layer_is(affine):
    lucid.manual_seed(0)
    eager = PlaneNorm(3, 5, affine)
    expected = eager(X)
    lucid.manual_seed(0)
    lazy = LazyPlaneNorm(affine)
    assert lazy.channels is lazy.planes is lazy.running_mean is None
    assert lazy.num_batches_tracked is None
    assert (lazy(X) == expected).all()
    assert (lazy.channels, lazy.planes) == (3, 5)
    assert same(lazy.state_dict(), eager.state_dict())
    assert list(lazy.state_dict()) == list(eager.state_dict())
    assert lazy.num_batches_tracked.dtype == mx.int64
    assert lazy.num_batches_tracked.item() == 1


def test_buffers_are_buffers_of_the_layer_and_of_the_twin():
    for layer in (PlaneNorm(3, 5), LazyPlaneNorm()):
        assert [name for name, _ in layer.named_buffers()] == [
            *("running_mean", "running_var", "num_batches_tracked"),
        ]
        layer.unfreeze()
        layer(X)
        assert set(layer.trainable_parameters()) == {"weight", "bias"}


def test_buffers_move_once_in_the_first_step():
    model = nn.Sequential(LazyPlaneNorm(), nn.LazyConv3d(2, 1))
    step = nn.value_and_grad(model, lambda: model(X).square().mean())
    _, grads = step()
    assert {name for name, _ in tree_flatten(grads)} == {
        f"layers.{i}.{name}" for i in (0, 1) for name in ("weight", "bias")
    }
    assert model[0].num_batches_tracked.item() == 1
    mean = np.array(X).mean((0, 3, 4))
    np.testing.assert_allclose(model[0].running_mean, 0.1 * mean, atol=1e-6)


def test_arrays_of_no_parameters_block_a_state_dict_but_not_an_optimizer():
    layer = LazyPlaneNorm(affine=False)
    assert layer.has_uninitialized_params()
    assert layer.trainable_parameters() == {}
    with pytest.raises(nn.UninitializedParameterError, match="LazyPlaneNorm"):
        layer.state_dict()


def test_casts_leave_integer_buffers_alone():
    layer = LazyPlaneNorm().half()
    layer(X.astype(mx.float16))
    assert layer.running_mean.dtype == layer.weight.dtype == mx.float16
    assert layer.num_batches_tracked.dtype == mx.int64


@pytest.mark.parametrize("affine", [True, False])
def test_sizes_come_from_a_state_dict_too(affine):
    source = PlaneNorm(3, 5, affine)
    source(X)
    layer = LazyPlaneNorm(affine)
    key = lucid.get_rng_state()
    assert layer.load_state_dict(source.state_dict()) == ([], [])
    assert (lucid.get_rng_state() == key).all()
    assert (layer.channels, layer.planes) == (3, 5)
    assert same(layer.state_dict(), source.state_dict())


def test_a_buffer_that_tells_no_sizes_is_kept_for_the_first_call():
    layer = LazyPlaneNorm()
    seven = {"num_batches_tracked": mx.array(7, mx.int64)}
    layer.load_state_dict(seven, strict=False)
    assert layer.channels is None
    assert layer.has_uninitialized_params()
    layer(X)
    assert layer.num_batches_tracked.item() == 8


def test_what_infer_refuses_leaves_the_layer_lazy():
    layer, key = LazyPlaneNorm(), lucid.get_rng_state()
    with pytest.raises(ValueError, match="5-D"):
        layer(X[0])
    assert layer.channels is layer.weight is None
    assert (lucid.get_rng_state() == key).all()


@pytest.mark.parametrize(
    "copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_are_independent(copier):
    layer = LazyPlaneNorm()
    twin = copier(layer)
    layer(X)
    assert twin.channels is twin.running_var is None
    twin(X[:, :2])
    assert (layer.channels, twin.channels) == (3, 2)


def test_an_array_whose_shape_is_inferred_cannot_be_none_before():
    layer = LazyPlaneNorm()
    with pytest.raises(ValueError, match="`running_mean` of LazyPlaneNorm"):
        layer.running_mean = None


@pytest.mark.parametrize("wrap", [lambda m: m, nn.Sequential, mlx.nn.Sequential])
def test_a_layer_without_arrays_never_blocks_and_learns_its_size(wrap):
    layer = LazyCenter()
    model = wrap(layer)
    assert not nn.has_uninitialized_params(model)
    assert model.trainable_parameters() is not None
    assert nn.Sequential(model).state_dict() == {}
    assert layer.channels is None
    assert mx.abs(model(X).mean((2, 3, 4))).max() < 1e-6
    assert layer.channels == 3
    with pytest.raises(ValueError, match="3 channels"):
        model(X[:, :2])


def test_a_layer_without_arrays_stays_lazy_when_a_later_one_fails():
    model = nn.Sequential(LazyCenter(), nn.LazyConv3d(2, 9))
    with pytest.raises(ValueError, match="kernel_size"):
        model(X)
    assert model[0].channels is None


def test_a_layer_without_arrays_that_a_step_does_not_reach_needs_no_warning():
    model = nn.ModuleList([nn.Conv3d(3, 2, 1), LazyCenter()])
    nn.value_and_grad(model, lambda: model[0](X).sum())()
    assert model[1].channels is None


def test_eager_sizes_are_checked():
    with pytest.raises(ValueError, match="`planes`"):
        PlaneNorm(3, 0)
    with pytest.raises(TypeError, match="`dtype`"):
        PlaneNorm(3, 5, dtype="int32")
