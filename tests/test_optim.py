"""Every optimizer trains a lazy model from its first step."""

import copy
import inspect

import lucid
from lucid import nn, optim
import mlx.core as mx
import mlx.nn
import mlx.optimizers
from mlx.utils import tree_flatten, tree_unflatten
import numpy as np
import pytest

X = lucid.ones(2, 2, 4, 4, 4)
MAKERS = {
    "SGD": lambda m: m.SGD(1e-2, momentum=0.9),
    "RMSprop": lambda m: m.RMSprop(1e-2),
    "Adagrad": lambda m: m.Adagrad(1e-2),
    "Adafactor": lambda m: m.Adafactor(),
    "AdaDelta": lambda m: m.AdaDelta(1.0),
    "Adam": lambda m: m.Adam(1e-2),
    "AdamW": lambda m: m.AdamW(1e-2),
    "Adamax": lambda m: m.Adamax(1e-2),
    "Lion": lambda m: m.Lion(1e-3),
    "Muon": lambda m: m.Muon(1e-2),
    "MultiOptimizer": lambda m: m.MultiOptimizer(
        [m.Adam(1e-2), m.SGD(1e-2)], [lambda name, _: "weight" in name]
    ),
}


def net() -> nn.Sequential:
    lucid.manual_seed(2)
    return nn.Sequential(nn.LazyConv3d(4, 3), nn.Tanh(), nn.LazyConv3d(1, 1))


def train(optimizer, model, steps: int = 5) -> list[float]:
    lucid.manual_seed(2)  # what lazy weights are drawn from, and `net` for eager ones
    step = nn.value_and_grad(model, lambda: (model(X) - 1).square().mean())
    losses = []
    for _ in range(steps):
        loss, grads = step()
        optimizer.update(model, grads)
        losses.append(loss.item())
    return losses


def weights(model) -> dict[str, list]:
    return {name: array.tolist() for name, array in model.state_dict().items()}


def test_every_mlx_optimizer_is_here():
    theirs = {
        name
        for name, kind in vars(mlx.optimizers).items()
        if isinstance(kind, type) and issubclass(kind, mlx.optimizers.Optimizer)
    }
    assert theirs | {"Optimizer"} == set(MAKERS) | {"Optimizer"}
    assert theirs <= set(optim.__all__) | {"Optimizer"}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("module", [optim, mlx.optimizers], ids=["lucid", "mlx"])
def test_a_lazy_model_trains_from_step_one_as_the_eager_one(make, module):
    model, eager = net(), nn.materialize(net(), X)
    losses = train(make(module), model)
    assert losses == train(make(module), eager)
    assert losses[-1] < losses[0]
    assert weights(model) == weights(eager)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_an_early_init_trains_as_none(make):
    model, other = net(), net()
    optimizer = make(optim)
    optimizer.init(model.parameters())
    assert train(optimizer, model) == train(make(optim), other)
    assert weights(model) == weights(other)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("wrap", [nn.Sequential, mlx.nn.Sequential])
def test_mlx_optimizers_with_an_early_init_fail_loudly(kernel_size, wrap):
    layer = nn.LazyConv3d(1, kernel_size)
    model = wrap(layer)
    optimizer = mlx.optimizers.Adam(1e-2)
    optimizer.init(model.parameters())
    step = nn.value_and_grad(model, lambda: model(X).square().mean())
    _, grads = step()
    with pytest.raises(ValueError, match=r"lucid\.optim|broadcast"):
        optimizer.update(model, grads)
    assert layer.weight.shape == (1, 2, *3 * [kernel_size])


def test_trainable_parameters_of_a_lazy_model_are_refused_to_init():
    with pytest.raises(nn.UninitializedParameterError, match=": 0, 2"):
        optim.Adam(1e-2).init(net().trainable_parameters())


def test_state_round_trips_through_a_flat_dict():
    model = net()
    optimizer = optim.AdamW(1e-2)
    train(optimizer, model, steps=2)
    twin = optim.AdamW(1e-2)
    twin.state = tree_unflatten(tree_flatten(optimizer.state))
    other = nn.materialize(net(), X)
    other.load_state_dict(model.state_dict())
    assert train(twin, other) == train(optimizer, model)


def test_schedules_drive_the_learning_rate():
    optimizer = optim.SGD(optim.linear_schedule(1.0, 0.0, 4))
    train(optimizer, net(), steps=3)
    assert optimizer.learning_rate.item() == pytest.approx(0.5)


def test_gradients_clip_to_a_norm():
    clipped, norm = optim.clip_grad_norm({"a": mx.array([3.0, 4.0])}, 1.0)
    assert norm.item() == 5
    assert clipped["a"].tolist() == pytest.approx([0.6, 0.8], rel=1e-4)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        *((make, "learning_rate") for make in (optim.SGD, optim.Adam, optim.Muon)),
        *((optim.SGD, name) for name in ("momentum", "weight_decay", "nesterov")),
        *((optim.Adam, name) for name in ("betas", "eps", "bias_correction")),
        (optim.Adafactor, "eps"),
        (optim.Muon, "ns_steps"),
    ],
)
@pytest.mark.parametrize(
    "value",
    ["0.1", 1j, np.datetime64(1, "s"), np.timedelta64(1, "ns"), (1, "2"), mx.ones(3)],
)
def test_an_option_that_is_no_number_is_a_type_error_naming_it(make, name, value):
    with pytest.raises(TypeError, match=f"`{name}`"):
        make(**{"learning_rate": 0.1, name: value})


def test_the_signature_is_mlxs():
    for name in ("SGD", "Adam", "Muon"):
        ours, mlxs = getattr(optim, name), getattr(mlx.optimizers, name)
        assert inspect.signature(ours) == inspect.signature(mlxs)


def test_a_learning_rate_may_be_a_schedule_or_an_array():
    for rate in (optim.step_decay(0.1, 0.9, 10), mx.array(0.1), np.float32(0.1), 1):
        assert optim.SGD(rate).learning_rate is not None
    assert optim.Adafactor(learning_rate=None, beta_1=None) is not None


class Supervised(nn.Module):
    """A network whose auxiliary head the first steps do not reach."""

    def __init__(self):
        super().__init__()
        self.encoder, self.main = nn.LazyConv3d(4, 3), nn.LazyConv3d(1, 1)
        self.heads, self.deep = [nn.LazyConv3d(1, 1), nn.LazyConv3d(1, 1)], False

    def forward(self, x):
        x = mx.tanh(self.encoder(x))
        return self.main(x) + (self.heads[1](x) if self.deep else 0)


def steps_of(model, optimizer, count: int) -> list[float]:
    step = nn.value_and_grad(model, lambda: (model(X) - 1).square().mean())
    losses = []
    for _ in range(count):
        loss, grads = step()
        optimizer.update(model, grads)
        losses.append(loss.item())
    return losses


@pytest.mark.filterwarnings("ignore:.*not reached")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_layer_reached_later_joins(make):
    model, optimizer = Supervised(), make(optim)
    steps_of(model, optimizer, 2)
    model.deep = True
    steps_of(model, optimizer, 1)
    before = {
        name: array.tolist() for name, array in model.heads[1].parameters().items()
    }
    steps_of(model, optimizer, 4)
    for name, array in model.heads[1].parameters().items():
        assert array.tolist() != before[name]
    assert model.heads[0].weight is None


@pytest.mark.filterwarnings("ignore:.*not reached")
def test_a_layer_that_joins_starts_as_one_of_a_new_optimizer():
    lucid.manual_seed(0)
    model, optimizer = Supervised(), optim.Adam(1e-2)
    steps_of(model, optimizer, 3)
    model.deep = True
    nn.materialize(model, X)
    head = copy.deepcopy(model.heads[1])
    _, grads = nn.value_and_grad(model, lambda: model(X).square().mean())()
    optimizer.update(model, grads)
    other = optim.Adam(1e-2)
    other.state["step"] = mx.array(3, mx.uint64)
    other.update(head, grads["heads"][1])
    assert weights(head) == weights(model.heads[1])


@pytest.mark.filterwarnings("ignore:.*not reached")
def test_mlx_optimizers_take_a_layer_that_joins_after_init():
    model, optimizer = Supervised(), mlx.optimizers.Adam(1e-2)
    steps_of(model, optimizer, 2)
    model.deep = True
    with pytest.raises(KeyError, match="weight"):
        steps_of(model, optimizer, 1)
    model.heads[0].freeze()
    optimizer.init(model.trainable_parameters())
    losses = steps_of(model, optimizer, 5)
    assert losses[-1] < losses[0]


def test_joining_and_freezing_at_once():
    model = nn.Sequential(*(nn.Conv3d(2, 2, 1) for _ in range(3)))
    model[0].freeze()
    optimizer = optim.MultiOptimizer(
        [optim.Adam(1e-2), optim.SGD(1e-2)], [lambda name, _: "weight" in name]
    )
    steps_of(model, optimizer, 1)
    before = weights(model)
    model[0].unfreeze()
    model[2].freeze()
    steps_of(model, optimizer, 1)
    changed = {
        name for name, values in weights(model).items() if values != before[name]
    }
    assert changed == {f"{i}.{name}" for i in (0, 1) for name in ("weight", "bias")}


@pytest.mark.parametrize("parameters", ["parameters", "none"])
def test_muon_for_matrices_and_adam_for_the_rest_may_be_initialized_early(parameters):
    model = net()
    optimizer = optim.MultiOptimizer(
        [optim.Muon(2e-2), optim.Adam(1e-2)], [lambda _, array: array.shape[0] > 1]
    )
    if parameters == "parameters":
        optimizer.init(model.parameters())
    losses = train(optimizer, model)
    assert losses[-1] < losses[0]
    lucid.manual_seed(2)
    eager = nn.materialize(net(), X)
    other = optim.MultiOptimizer(
        [optim.Muon(2e-2), optim.Adam(1e-2)], [lambda _, array: array.shape[0] > 1]
    )
    assert train(other, eager) == losses


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "MultiOptimizer"])
def test_pytorchs_arguments_are_told_from_ours(name):
    make = getattr(optim, name)
    parameters = nn.Conv3d(1, 1, 1).parameters()
    for wrong in (
        lambda: make(parameters),
        lambda: make(parameters, lr=1e-3),
        lambda: make(learning_rate=1e-3, lr=1e-3),
        lambda: make(list(parameters.values())),
        lambda: make(iter(parameters.values())),
    ):
        with pytest.raises(TypeError, match="`learning_rate`, and no parameters"):
            wrong()


def test_an_option_that_there_is_not_is_answered_by_those_there_are():
    with pytest.raises(
        TypeError, match=r"^Adam .*'weight_decay'; it takes learning_rat"
    ):
        optim.Adam(1e-3, weight_decay=1e-2)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_the_norm_of_many_half_arrays_is_summed_in_float32(dtype):
    rng = np.random.default_rng(0)
    grads = [mx.array(rng.normal(size=200), dtype=dtype) for _ in range(400)]
    wide = np.array([grad.astype(mx.float32) for grad in grads], np.float64)
    clipped, norm = optim.clip_grad_norm({"layers": grads}, 1.0)
    assert norm.item() == pytest.approx(np.linalg.norm(wide), rel=1e-5)
    assert {grad.dtype for grad in clipped["layers"]} == {dtype}


def test_update_wants_the_model_and_not_its_parameters():
    conv = nn.Conv3d(1, 1, 1)
    for optimizer in (optim.SGD(1e-3), optim.MultiOptimizer([optim.SGD(1e-3)])):
        with pytest.raises(TypeError, match="`model` must be a module"):
            optimizer.update(conv.parameters(), conv.parameters())


def test_gradients_are_clipped_to_a_number():
    grads = {"a": mx.array([3.0, 4.0])}
    for largest in (1, np.float32(1), mx.array(1.0)):
        clipped, norm = optim.clip_grad_norm(grads, largest)
        assert norm.item() == pytest.approx(5)
        assert mx.linalg.norm(clipped["a"]).item() == pytest.approx(1, rel=1e-5)
    for largest in ("1", np.timedelta64(1, "s"), None):
        with pytest.raises(TypeError, match="`max_norm`"):
            optim.clip_grad_norm(grads, largest)
