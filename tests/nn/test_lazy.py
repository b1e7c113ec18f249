"""The lazy contract: before the first call, during it, and when it fails."""

import copy
import pickle

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import mlx.optimizers
from mlx.utils import tree_flatten
import pytest


def lazy(**options) -> nn.LazyConv3d:
    return nn.LazyConv3d(4, 3, **options)


def assert_lazy(*layers: nn.LazyConv3d) -> None:
    for layer in layers:
        assert layer.weight is None
        assert layer.bias is None
        assert layer.in_channels is None
        assert layer.has_uninitialized_params()


def same(a: mx.array, b: mx.array) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def test_before_the_first_call_nothing_exists_and_nothing_was_drawn():
    key = lucid.get_rng_state()
    layer = lazy()
    assert_lazy(layer)
    assert repr(layer) == (
        "LazyConv3d(None, 4, kernel_size=(3, 3, 3), stride=(1, 1, 1))"
    )
    assert same(lucid.get_rng_state(), key)
    assert isinstance(layer, nn.Conv3d)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"groups": 2}])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_are_those_of_conv3d_from_the_same_seed(options, dtype):
    x = lucid.ones(1, 6, 4, 4, 4, dtype=dtype)
    lucid.manual_seed(3)
    layer = lazy(dtype=dtype, **options)
    y = layer(x)
    lucid.manual_seed(3)
    eager = nn.Conv3d(6, 4, 3, dtype=dtype, **options)
    assert same(layer.weight, eager.weight)
    assert options.get("bias") is False or same(layer.bias, eager.bias)
    assert same(y, eager(x))
    assert type(layer) is nn.LazyConv3d
    assert layer.in_channels == 6


def test_channels_are_axis_0_of_an_unbatched_input():
    layer = lazy()
    assert layer(lucid.zeros(5, 4, 4, 4)).shape == (4, 2, 2, 2)
    assert layer.in_channels == 5


def test_an_empty_batch_materializes():
    layer = lazy()
    assert layer(lucid.zeros(0, 5, 4, 4, 4)).shape == (0, 4, 2, 2, 2)
    assert layer.in_channels == 5


def test_a_half_precision_layer_starts_from_the_rounded_float32_weights():
    for cast in ("half", "bfloat16"):
        lucid.manual_seed(0)
        late = getattr(lazy(), cast)()
        late(lucid.ones(1, 2, 3, 3, 3, dtype=late["weight"].dtype))
        lucid.manual_seed(0)
        eager = getattr(nn.Conv3d(2, 4, 3), cast)()
        assert same(late.weight, eager.weight)


@pytest.mark.parametrize(
    ("options", "x"),
    [
        ({}, lucid.zeros(1, 2, 2, 4, 4)),  # kernel larger than the input
        ({"groups": 2}, lucid.zeros(1, 3, 4, 4, 4)),
        ({"padding": 4, "padding_mode": "reflect"}, lucid.zeros(1, 2, 4, 4, 4)),
        ({"padding": 5, "padding_mode": "circular"}, lucid.zeros(1, 2, 4, 4, 4)),
        ({}, lucid.zeros(2, 4, 4)),
        ({}, lucid.zeros(1, 1, 2, 4, 4, 4)),
        ({}, lucid.zeros(1, 2, 4, 4, 4, dtype="float16")),
        ({}, lucid.zeros(1, 2, 4, 4, 4, dtype="int32")),
        ({}, lucid.zeros(1, 0, 4, 4, 4)),
        ({}, lucid.zeros(1, 2, 0, 4, 4)),
        ({}, [[1.0]]),
        ({}, None),
    ],
)
@pytest.mark.parametrize("method", ["__call__", "forward"])
def test_a_refused_first_call_leaves_the_layer_lazy(options, x, method):
    layer = lazy(**options)
    key = lucid.get_rng_state()
    with pytest.raises((TypeError, ValueError), match="`"):
        getattr(layer, method)(x)
    assert_lazy(layer)
    assert same(lucid.get_rng_state(), key)
    lucid.set_rng_state(key)
    layer(lucid.zeros(1, 2, 8, 8, 8))
    lucid.set_rng_state(key)
    eager = nn.Conv3d(2, 4, 3, groups=options.get("groups", 1))
    assert same(layer.weight, eager.weight)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("method", ["__call__", "forward"])
def test_an_exception_in_init_leaves_the_layer_lazy(monkeypatch, error, method):
    layer = lazy()
    key = lucid.get_rng_state()

    def fail(*_):
        mx.random.normal((2,))
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(nn.init, "uniform_", fail)
        with pytest.raises(error):
            getattr(layer, method)(lucid.zeros(1, 2, 4, 4, 4))
    assert_lazy(layer)
    assert same(lucid.get_rng_state(), key)
    layer(lucid.zeros(1, 3, 4, 4, 4))
    assert layer.in_channels == 3


def test_a_failure_later_in_the_model_leaves_every_layer_of_the_call_lazy():
    first, second = nn.LazyConv3d(3, 1), nn.LazyConv3d(2, 3)
    model = nn.Sequential(first, mlx.nn.Dropout(0.5), second)
    key = lucid.get_rng_state()
    with pytest.raises(ValueError, match="kernel_size"):
        model(lucid.zeros(1, 7, 2, 2, 2))
    assert_lazy(first, second)
    assert same(lucid.get_rng_state(), key)
    assert model(lucid.zeros(1, 5, 3, 3, 3)).shape == (1, 2, 1, 1, 1)
    assert first.in_channels == 5


def test_layers_of_earlier_calls_stay_when_a_later_call_fails():
    model = nn.Sequential(nn.LazyConv3d(3, 1))
    model(lucid.zeros(1, 2, 2, 2, 2))
    weight = model[0].weight
    with pytest.raises(ValueError, match="channels"):
        model(lucid.zeros(1, 5, 2, 2, 2))
    assert model[0].weight is weight


def test_a_caught_failure_inside_forward_undoes_only_its_own_layer():
    class Fallback(nn.Module):
        def __init__(self):
            super().__init__()
            self.good, self.bad = nn.LazyConv3d(2, 1), nn.LazyConv3d(2, 9)

        def forward(self, x):
            x = self.good(x)
            try:
                return self.bad(x)
            except ValueError:
                return x

    model = Fallback()
    model(lucid.zeros(1, 3, 4, 4, 4))
    assert model.good.in_channels == 3
    assert_lazy(model.bad)


def test_a_subclass_may_redefine_the_draw():
    class Ones(nn.LazyConv3d):
        def reset_parameters(self):
            super().reset_parameters()
            if self.weight is not None:
                nn.init.ones_(self.weight)

    layer = Ones(1, 1)
    layer(lucid.zeros(1, 2, 1, 1, 1))
    assert layer.weight.tolist() == [[[[[1.0]]], [[[1.0]]]]]


def test_reset_parameters_of_a_lazy_layer_waits_and_of_any_other_redraws():
    layer = lazy()
    key = lucid.get_rng_state()
    layer.reset_parameters()
    assert same(lucid.get_rng_state(), key)
    layer(lucid.zeros(1, 2, 3, 3, 3))
    before = layer.weight
    layer.reset_parameters()
    assert not same(layer.weight, before)


@pytest.mark.parametrize(
    "copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_of_a_lazy_layer_are_lazy_and_independent(copier):
    layer = nn.Sequential(lazy(dtype="float16")).freeze()
    twin = copier(layer)
    layer(lucid.zeros(1, 2, 3, 3, 3, dtype="float16"))
    assert_lazy(twin[0])
    twin(lucid.zeros(1, 5, 3, 3, 3, dtype="float16"))
    assert (layer[0].in_channels, twin[0].in_channels) == (2, 5)
    assert twin.trainable_parameters() == layer.trainable_parameters()


def test_what_is_asked_before_the_first_call_is_honored_after():
    for owner in (lambda m: nn.Sequential(m), lambda m: mlx.nn.Sequential(m)):
        layer = lazy()
        model = owner(layer)
        model.set_dtype(mx.bfloat16)
        model.freeze(keys="weight")
        model.eval()
        layer.to("cpu")
        y = layer(lucid.zeros(1, 2, 3, 3, 3, dtype="bfloat16"))
        assert y.dtype == layer.weight.dtype == layer.bias.dtype == mx.bfloat16
        assert list(layer.trainable_parameters()) == ["bias"]
        assert not layer.training
        assert layer.device == "cpu"


def test_frozen_and_unfrozen_again_before_the_first_call_trains():
    layer = lazy().freeze().unfreeze()
    layer(lucid.zeros(1, 2, 3, 3, 3))
    assert set(layer.trainable_parameters()) == {"weight", "bias"}


def test_a_frozen_lazy_layer_hides_nothing_from_an_optimizer():
    assert tree_flatten(nn.Sequential(lazy().freeze()).trainable_parameters()) == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.trainable_parameters(),
        lambda m: mlx.nn.Sequential(m).trainable_parameters(),
        lambda m: mlx.nn.value_and_grad(m, lambda x: m(x).sum())(lucid.zeros(1)),
        lambda m: mlx.optimizers.Adam(1e-3).init(m.trainable_parameters()),
        lambda m: m.state_dict(),
    ],
)
def test_asking_for_weights_that_do_not_exist_names_layer_and_remedy(ask):
    with pytest.raises(nn.UninitializedParameterError, match="materialize") as caught:
        ask(nn.Sequential(nn.ReLU(), lazy()))
    assert ": 1." in str(caught.value) or "LazyConv3d(None" in str(caught.value)


def test_reading_a_lazy_model_works():
    model = nn.Sequential(lazy(), nn.ReLU())
    mx.eval(model.parameters())
    assert sum(array.size for _, array in tree_flatten(model.parameters())) == 0
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    assert "None" in repr(model)
    assert_lazy(model[0])


def test_mlx_update_and_load_weights_reach_lazy_layers_in_mlx_containers():
    layer = lazy()
    source = nn.Conv3d(2, 4, 3)
    weights = [(f"layers.0.{k}", v) for k, v in source.state_dict().items()]
    mlx.nn.Sequential(layer).load_weights(weights, strict=False)
    assert layer.in_channels == 2
    assert same(layer.weight, source.weight)
    assert same(layer.bias, source.bias)


def test_assigning_a_weight_materializes_and_a_wrong_one_is_refused():
    layer = lazy()
    with pytest.raises(ValueError, match="`weight`"):
        layer.weight = lucid.ones(4, 2, 3, 3)
    assert_lazy(layer)
    layer.weight = lucid.ones(4, 2, 3, 3, 3)
    assert layer.in_channels == 2


def test_nothing_is_evaluated_by_the_first_call():
    layer = nn.LazyConv3d(64, 3, padding=1)
    layer(lucid.zeros(1, 32, 256, 256, 256))  # 4 GiB, were it computed
    assert layer.weight.shape == (64, 32, 3, 3, 3)


def test_apply_reaches_a_lazy_layer_once_its_weights_exist():
    def fill(module):
        if isinstance(module, nn.Conv3d):
            nn.init.ones_(module.weight)

    model = nn.Sequential(lazy(), nn.Conv3d(4, 1, 1)).apply(fill)
    assert (model[1].weight == 1).all()
    assert_lazy(model[0])
    twin = copy.deepcopy(model)
    model(lucid.zeros(1, 2, 3, 3, 3))
    assert (model[0].weight == 1).all()
    state = nn.Sequential(nn.Conv3d(2, 4, 3), nn.Conv3d(4, 1, 1)).state_dict()
    twin.load_state_dict(state)
    assert same(twin[0].weight, state["0.weight"])


def test_a_failing_applied_function_leaves_the_layer_lazy_and_the_function_pending():
    layer = lazy().apply(lambda m: nn.init.kaiming_normal_(m.weight, mode="none"))
    for _ in range(2):
        with pytest.raises(ValueError, match="`mode`"):
            layer(lucid.zeros(1, 2, 3, 3, 3))
        assert_lazy(layer)


def test_nothing_can_be_lost_by_repeated_failing_first_calls():
    model = nn.Sequential(nn.LazyConv3d(3, 1), nn.LazyConv3d(2, 3))
    expected = repr(model)
    for channels in range(1, 6):
        with pytest.raises(ValueError, match="kernel_size"):
            model(lucid.zeros(1, channels, 2, 2, 2))
    assert repr(model) == expected


@pytest.mark.parametrize("wrap", [nn.Sequential, mlx.nn.Sequential])
def test_mlx_update_materializes_what_it_is_given(wrap):
    layer, other = lazy(), lazy()
    model = wrap(layer, other)
    source = nn.Conv3d(2, 4, 3)
    model.update({"layers": [dict(source.parameters())]})
    assert same(layer.weight, source.weight)
    assert same(layer.bias, source.bias)
    assert_lazy(other)
