"""Dry runs and failing first calls leave no trace, whatever the model does in them."""

import copy
import gc
import pickle
import threading
import weakref

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import pytest

from tests.failing import fail_later

X = lucid.ones(1, 2, 4, 4, 4)


class Counting(nn.Module):
    """Changes its state in every way a forward can."""

    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv3d(2, 1)
        self.register_buffer("rebound", mx.zeros(1))
        self.register_buffer("in_place", mx.zeros(1))
        self.tree = {"sums": [mx.zeros(1)]}
        self.history = []
        self.calls = 0

    def forward(self, x):
        self.rebound = self.rebound + 1
        self.in_place += 1
        self.tree["sums"][0][...] = self.tree["sums"][0] + 1
        self.history.append(x.mean())
        self.calls += 1
        return self.conv(x)

    def counts(self) -> list[float]:
        arrays = (self.rebound, self.in_place, self.tree["sums"][0])
        return [*(a.item() for a in arrays), len(self.history), self.calls]


def ways() -> dict:
    return {
        "materialize": lambda m: nn.materialize(m, (1, 2, 4, 4, 4)),
        "summary": lambda m: lucid.summary(m, (1, 2, 4, 4, 4)),
        "value_and_grad": lambda m: nn.value_and_grad(m, lambda x: m(x).sum())(X),
    }


@pytest.mark.parametrize(("way", "calls"), [*zip(ways(), (0, 0, 1), strict=True)])
def test_state_moves_once_for_a_real_call_and_never_for_a_dry_run(way, calls):
    model = Counting()
    originals = model.in_place, model.tree["sums"]
    ways()[way](model)
    assert model.counts() == [calls] * 5
    assert model.in_place is originals[0]
    assert model.tree["sums"] is originals[1]
    assert nn.has_uninitialized_params(model) == (way == "summary")


def test_a_summary_inside_a_dry_run_leaves_the_model_lazy():
    model = nn.Sequential(nn.LazyConv3d(4, 1))

    def loss(x):
        if nn.has_uninitialized_params(model):
            lucid.summary(model, (1, 5, 2, 2, 2))
        return model(x).sum()

    _, grads = nn.value_and_grad(model, loss)(X)
    assert grads["layers"][0]["weight"].shape == (4, 2, 1, 1, 1)


@pytest.mark.parametrize("make", [nn.LazyConv3d, lambda *a: nn.Conv3d(2, *a)])
def test_reset_parameters_may_be_overridden_with_in_place_initializers(make):
    kind = type(make(1, 1))

    class Twos(kind):
        def reset_parameters(self):
            nn.init.constant_(self.weight, 2)
            nn.init.zeros_(self.bias)

    layer = Twos(3, 1) if kind is nn.LazyConv3d else Twos(2, 3, 1)
    assert layer(X).tolist() == lucid.full((1, 3, 4, 4, 4), 4.0).tolist()


def test_functions_given_to_apply_are_let_go_once_they_were_called():
    model = nn.Sequential(nn.LazyConv3d(2, 1)).apply(lambda layer: None)
    model(X)
    assert pickle.loads(pickle.dumps(model))[0].in_channels == 2


def test_functions_given_to_apply_survive_weights_lost_in_a_trace():
    layer = nn.LazyConv3d(2, 1).apply(lambda m: nn.init.constant_(m.weight, 7.0))
    state = [layer.state, mx.random.state]
    call = mx.compile(lambda x: layer(x), inputs=state, outputs=mx.random.state)
    mx.eval(call(X))
    with pytest.raises(RuntimeError, match="lazy again"):
        layer(X)
    layer(X)
    assert (layer.weight == 7).all()


def test_an_error_of_earlier_work_is_raised_and_the_layer_stays_lazy():
    layer = nn.LazyConv3d(2, 1)
    with mx.stream(mx.cpu):  # where it fails
        fail_later()
        with pytest.raises(RuntimeError, match="Inverse"):
            layer(X)
        assert layer.weight is None
        assert layer(X).shape == (1, 2, 4, 4, 4)


def test_an_error_caught_in_a_compiled_function_leaves_its_draws_random():
    eager = nn.Conv3d(3, 2, 1)

    def step(x):
        try:
            eager(x)
        except ValueError:
            return mx.random.uniform(shape=(2,))

    call = mx.compile(step, inputs=mx.random.state, outputs=mx.random.state)
    draws = {tuple(call(X).tolist()) for _ in range(3)}
    assert len(draws) == 3


def test_mlx_update_of_a_lazy_layer_leaves_the_random_state_alone():
    values = nn.Conv3d(2, 2, 1).parameters()
    key = lucid.get_rng_state()
    layer = nn.LazyConv3d(2, 1)
    layer.update(values)
    assert (lucid.get_rng_state() == key).all()
    assert (layer.bias == values["bias"]).all()


@pytest.mark.parametrize("deleted", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_a_bias_set_to_none_or_deleted_stays_none(before, deleted):
    layer = nn.LazyConv3d(2, 1)
    if not before:
        layer(X)
    if deleted:
        del layer.bias
    else:
        layer.bias = None
    layer(X)
    layer.reset_parameters()
    assert layer.bias is None
    assert "bias=False" in repr(layer)
    assert list(layer.state_dict()) == ["weight"]


def test_a_weight_set_to_none_is_refused_by_name():
    with pytest.raises(ValueError, match="`weight`"):
        nn.LazyConv3d(2, 1).weight = None
    layer = nn.Conv3d(2, 2, 1)
    layer.weight = None  # type: ignore[assignment]
    with pytest.raises(TypeError, match="`weight`"):
        layer(X)


def test_concurrent_first_calls_create_the_weights_once(monkeypatch):
    model = nn.Sequential(*(nn.LazyConv3d(4, 1) for _ in range(10)))
    start, failures, draws = threading.Barrier(4), [], []
    draw = nn.init.kaiming_uniform_
    monkeypatch.setattr(
        nn.init, "kaiming_uniform_", lambda *a, **k: draws.append(1) or draw(*a, **k)
    )

    def call():
        try:
            start.wait()
            with mx.stream(mx.new_stream(mx.cpu)):
                model(X)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
            failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(draws) == len(model)
    assert not nn.has_uninitialized_params(model)


@pytest.mark.parametrize("way", ways())
def test_a_first_call_keeps_nothing_alive(way):
    model = nn.Sequential(Counting())
    ways()[way](model)
    alive = [weakref.ref(module) for module in model.modules()]
    del model
    gc.collect()
    assert [ref() for ref in alive] == [None] * 3


def test_modules_that_mlx_would_not_see_are_refused():
    class Private(nn.Module):
        def __init__(self, value):
            super().__init__()
            self._encoder = value

    for value in (nn.Conv3d(1, 1, 1), [nn.Conv3d(1, 1, 1)], {"a": nn.ReLU()}):
        with pytest.raises(AttributeError, match="_encoder"):
            Private(value)
    assert Private(mx.ones(1)).state_dict() == {}


@pytest.mark.parametrize("key", ["a.b", "0", 0])
def test_dict_keys_that_no_dotted_name_can_hold_are_refused(key):
    with pytest.raises(AttributeError, match="keys of a dict"):
        nn.Module().arrays = {key: mx.ones(1)}


def test_a_copied_lazy_layer_creates_its_own_weights():
    layer = nn.LazyConv3d(2, 1)
    twin = copy.deepcopy(layer)
    mlx.nn.Sequential(layer)(X)
    assert twin.weight is None


@pytest.mark.parametrize(
    "call",
    [
        lambda model: nn.materialize(model, (1, 2, 4, 4, 4)),
        lambda model: lucid.summary(model, (1, 2, 4, 4, 4)),
        lambda model: nn.value_and_grad(model, lambda x: x),
    ],
)
def test_what_is_no_module_is_refused_by_name(call):
    with pytest.raises(TypeError, match="`model` must be a module, got int"):
        call(3)


def test_a_negative_input_shape_is_refused_and_the_layer_stays_lazy():
    layer = nn.LazyConv3d(2, 1)
    with pytest.raises(ValueError, match="must not be negative"):
        nn.materialize(layer, (1, -2, 4, 4, 4))
    assert layer.has_uninitialized_params()
