"""What `Module` promises beyond MLX's."""

import copy
import pickle

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import mlx.optimizers
from mlx.utils import tree_flatten, tree_unflatten
import numpy as np
import pytest


class Scale(nn.Module):
    def __init__(self, persistent: bool = True):
        super().__init__()
        self.factor = nn.Parameter(mx.ones((3,)))
        self.register_buffer("mean", mx.zeros((3,)), persistent=persistent)

    def forward(self, x):
        return x * self.factor + self.mean


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(2, 4, 3)
        self.blocks = [Scale(), Scale()]
        self.heads = {"mask": nn.Conv3d(4, 1, 1)}
        self.norm = mlx.nn.BatchNorm(4)
        self.gain = mx.ones((1,))


def test_call_runs_forward():
    assert (Scale()(mx.ones((3,))) == 1).all()


def test_state_dict_has_pytorch_names_own_arrays_first():
    names = list(Tower().state_dict())
    assert names[0] == "gain"
    assert set(names) == {
        *("gain", "first.weight", "first.bias", "heads.mask.weight", "heads.mask.bias"),
        *("blocks.0.factor", "blocks.0.mean", "blocks.1.factor", "blocks.1.mean"),
        *("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
    }


def test_named_parameters_leave_buffers_out():
    names = [name for name, _ in Tower().named_parameters()]
    assert not any("mean" in name or "var" in name for name in names)
    assert "blocks.1.factor" in names
    buffers = [name for name, _ in Tower().named_buffers()]
    assert set(buffers) == {
        *("blocks.0.mean", "blocks.1.mean", "norm.running_mean", "norm.running_var"),
    }


def test_buffers_get_no_gradient_even_after_unfreeze():
    model = nn.Sequential(Scale())
    for unfreeze in (
        lambda: model.unfreeze(),
        lambda: model.unfreeze(keys="mean"),
        lambda: mlx.nn.Sequential(model).unfreeze(),
        lambda: mlx.nn.Sequential(model).unfreeze(keys=["mean", "factor"]),
    ):
        unfreeze()
        _, grads = nn.value_and_grad(model, lambda x: model(x).sum())(mx.ones((3,)))
        assert [name for name, _ in tree_flatten(grads)] == ["layers.0.factor"]


def test_frozen_parameters_train_again_after_unfreeze():
    model = Scale().freeze()
    assert tree_flatten(model.trainable_parameters()) == []
    model.unfreeze()
    assert list(model.trainable_parameters()) == ["factor"]


def test_non_persistent_buffers_are_not_saved_nor_expected():
    model = Scale(persistent=False)
    assert list(model.state_dict()) == ["factor"]
    assert model.load_state_dict({"factor": mx.zeros((3,))}) == ([], [])


def test_buffers_reject_what_mlx_would_lose():
    model = Scale()
    with pytest.raises(TypeError, match="`other`"):
        model.register_buffer("other", [1.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="underscore"):
        model.register_buffer("_hidden", mx.ones(1))
    model.register_buffer("later", None)
    assert model.later is None
    model.later = mx.ones((1,))
    assert "later" not in dict(model.named_parameters())


def test_deleted_buffer_may_return_as_a_parameter():
    model = Scale()
    del model.mean
    model.mean = mx.ones((3,))
    assert "mean" in dict(model.named_parameters())
    assert "mean" in model.trainable_parameters()


@pytest.mark.parametrize("name", ["keys", "items", "update", "parameters", "forward"])
def test_members_under_names_of_methods_are_refused(name):
    with pytest.raises(AttributeError, match=f"Scale.{name}"):
        setattr(Scale(), name, mx.ones((1,)))


@pytest.mark.parametrize("name", ["0", "a.b", ""])
def test_members_under_names_that_break_state_dicts_are_refused(name):
    with pytest.raises(AttributeError, match="name a parameter"):
        setattr(Scale(), name, nn.ReLU())


@pytest.mark.parametrize("value", [(nn.ReLU(),), [(mx.ones(1),)], {"a": (nn.ReLU(),)}])
def test_tuples_of_members_are_refused(value):
    with pytest.raises(AttributeError, match="tuples"):
        Scale().layers = value


def test_tuples_of_plain_values_are_plain_attributes():
    model = Scale()
    model.shape = (1, 2, 3)
    assert model.shape == (1, 2, 3)
    assert "shape" not in model.state


def test_assigning_before_init_names_the_remedy():
    class Forgetful(nn.Module):
        def __init__(self):
            self.weight = mx.ones((1,))

    with pytest.raises(AttributeError, match="super"):
        Forgetful()


def test_modules_are_true_hashable_and_equal_only_to_themselves():
    empty, other = nn.ReLU(), nn.ReLU()
    assert empty
    assert empty == empty
    assert empty != other
    assert len({empty, other, empty}) == 2


def test_attribute_moves_between_array_and_plain_value():
    model = Scale()
    model.factor = None
    assert model.factor is None
    assert "factor" not in dict(model.named_parameters())
    model.factor = mx.ones((3,))
    assert "factor" in dict(model.named_parameters())


def test_missing_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = Scale().nothing


def test_parameter_role_survives_training_loading_and_copying():
    model = nn.Conv3d(1, 1, 1)
    optimizer = mlx.optimizers.Adam(1e-2)
    _, grads = nn.value_and_grad(model, lambda x: model(x).sum())(
        mx.ones((1, 1, 2, 2, 2))
    )
    optimizer.update(model, grads)
    assert isinstance(model.weight, nn.Parameter)
    model.load_state_dict(model.state_dict())
    for twin in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(twin.weight, nn.Parameter)
        assert (twin.weight == model.weight).all()


def test_parameter_takes_what_pytorchs_takes():
    for made in (nn.Parameter(mx.ones(2)), nn.Parameter(mx.ones(2), True)):
        assert type(made) is mx.array
        assert isinstance(made, nn.Parameter)
    assert nn.Parameter(data=[1.0, 2.0], requires_grad=True).tolist() == [1, 2]
    assert not isinstance(np.ones(2), nn.Parameter)
    with pytest.raises(TypeError, match="`data`"):
        nn.Parameter(data=np)
    with pytest.raises(ValueError, match=r"`requires_grad`.*nn\.Buffer.*freeze"):
        nn.Parameter(mx.ones(2), requires_grad=False)
    with pytest.raises(TypeError, match="`requires_grad`"):
        nn.Parameter(mx.ones(2), requires_grad="yes")


def test_copies_are_independent():
    model = Tower()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin.load_state_dict(
            {name: mx.zeros_like(array) for name, array in twin.state_dict().items()}
        )
        assert mx.abs(model.first.weight).sum() > 0
        assert twin.blocks[0].mean.sum() == 0
        twin.unfreeze()
        assert "mean" not in twin.blocks[0].trainable_parameters()


def test_repr_nests_like_pytorch():
    assert repr(nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh())) == (
        "Sequential(\n  (0): Sequential(\n    (0): ReLU()\n  )\n  (1): Tanh()\n)"
    )


def test_shared_module_is_listed_once_but_saved_under_each_name():
    shared = nn.Conv3d(1, 1, 1)
    model = nn.Sequential(shared, shared)
    assert [name for name, _ in model.named_modules()] == ["", "0"]
    assert len(model.named_parameters()) == 2
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_apply_visits_children_first():
    names: list[str] = []
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh()))
    assert model.apply(lambda m: names.append(type(m).__name__)) is model
    assert names == ["ReLU", "Tanh", "Sequential", "Sequential"]


@pytest.mark.parametrize(
    ("cast", "dtype"),
    [
        (lambda m: m.half(), mx.float16),
        (lambda m: m.bfloat16(), mx.bfloat16),
        (lambda m: m.half().float(), mx.float32),
        (lambda m: m.to("bfloat16"), mx.bfloat16),
        (lambda m: m.to(np.float16), mx.float16),
        (lambda m: m.to("cpu", mx.float16), mx.float16),
        (lambda m: m.to(dtype=mx.float16, device=mx.cpu), mx.float16),
    ],
)
def test_casts_reach_every_floating_array(cast, dtype):
    model = Tower()
    model.steps = mx.array(3)
    assert cast(model) is model
    dtypes = {name: array.dtype for name, array in model.state_dict().items()}
    assert dtypes.pop("steps") == mx.int32
    assert set(dtypes.values()) == {dtype}


def test_to_refuses_other_dtypes_and_absent_devices():
    model = Scale()
    with pytest.raises(TypeError, match="float32, float16 or bfloat16"):
        model.to(mx.int32)
    with pytest.raises(ValueError, match="`device`"):
        model.to("cuda")
    assert model.factor.dtype == mx.float32


def test_to_device_reaches_nested_layers():
    model = nn.Sequential(nn.Conv3d(1, 1, 1)).to("cpu")
    assert model[0].device == "cpu"


def test_train_and_eval_reach_modules_of_both_kinds():
    model = nn.Sequential(mlx.nn.Dropout(0.5), nn.Sequential(nn.ReLU()))
    model.eval()
    assert not any(module.training for module in model.modules())
    assert mlx.nn.Sequential(model).train().layers[0][1].training


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_mlx_save_and_load_weights_work(tmp_path, suffix):
    model, fresh = Tower(), Tower()
    path = str(tmp_path / f"weights.{suffix}")
    model.save_weights(path)
    assert fresh.load_weights(path) is fresh
    for name, array in model.state_dict().items():
        assert (fresh.state_dict()[name] == array).all()


def test_load_weights_takes_names_of_mlx_parameters():
    model, fresh = (nn.Sequential(nn.Conv3d(1, 1, 1), nn.ReLU()) for _ in range(2))
    fresh.load_weights(tree_flatten(model.parameters()))
    assert (fresh[0].weight == model[0].weight).all()


def test_sequential_survives_update_and_an_optimizer_state_round_trip():
    model = nn.Sequential(nn.Conv3d(1, 2, 1), nn.ReLU(), nn.Conv3d(2, 1, 1), nn.Tanh())
    x = lucid.ones(1, 1, 2, 2, 2)
    optimizer = mlx.optimizers.AdamW(1e-2)
    step = nn.value_and_grad(model, lambda x: model(x).square().mean())
    for _ in range(2):
        optimizer.update(model, step(x)[1])
        optimizer.state = tree_unflatten(tree_flatten(optimizer.state))
    before = model[0].weight
    model.update(tree_unflatten(tree_flatten(model.parameters())))
    assert (model[0].weight == before).all()
    optimizer.update(model, step(x)[1])
    assert not (model[0].weight == before).all()


def test_nested_in_mlx_containers_both_ways():
    inner = nn.Sequential(mlx.nn.Linear(3, 3), Scale())
    outer = mlx.nn.Sequential(inner, nn.ReLU())
    assert outer(mx.ones((2, 3))).shape == (2, 3)
    assert list(nn.Sequential(outer).state_dict()) == [
        *("0.layers.0.0.weight", "0.layers.0.0.bias"),
        *("0.layers.0.1.factor", "0.layers.0.1.mean"),
    ]


@pytest.mark.parametrize("register", ["register_buffer", "register_parameter"])
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("note", KeyError),
        ("forward", KeyError),
        ("training", KeyError),
        ("a.b", KeyError),
        ("", KeyError),
        (1, TypeError),
    ],
)
def test_register_refuses_names(register, name, error):
    model = Scale()
    model.note = 1
    with pytest.raises(error, match="`name`"):
        getattr(model, register)(name, mx.ones(1))
    assert model.note == 1


def test_a_buffer_is_no_parameter_nor_the_other_way_round():
    model = Scale()
    with pytest.raises(KeyError, match="factor"):
        model.register_buffer("factor", mx.ones(3))
    with pytest.raises(KeyError, match="mean"):
        model.register_parameter("mean", mx.ones(3))
    model.register_buffer("mean", mx.ones(3), persistent=False)
    model.register_parameter("factor", mx.zeros(3))
    assert list(model.state_dict()) == ["factor"]
    with pytest.raises(TypeError, match="`gain`"):
        model.register_parameter("gain", 1.0)


class Centered(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = nn.Buffer(mx.zeros((3,)))
        self.scratch = nn.Buffer(mx.zeros((3,)), persistent=False)
        self.factor = nn.Parameter(mx.ones((3,)))


def test_an_assigned_buffer_is_registered():
    model = Centered()
    assert [name for name, _ in model.named_buffers()] == ["mean", "scratch"]
    assert list(model.state_dict()) == ["mean", "factor"]
    assert list(model.trainable_parameters()) == ["factor"]
    model.factor = nn.Buffer(mx.ones((3,)))
    assert list(model.trainable_parameters()) == []
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    assert [name for name, _ in twin.named_buffers()] == ["mean", "scratch", "factor"]
    assert (nn.Buffer(mx.ones(2)) + 1).tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    "name",
    [
        *("get_extra_state", "set_extra_state"),
        *("_save_to_state_dict", "_load_from_state_dict"),
    ],
)
def test_overrides_that_would_never_be_called_are_refused(name):
    with pytest.raises(TypeError, match=f"`Old.{name}` would never be called"):
        type("Old", (nn.Module,), {name: lambda self: None})


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda m: m.register_buffer("b", [1.0]), "tensor"),
        (lambda m: m.register_buffer(["b"], mx.ones(1)), "name"),
        (lambda m: m.register_buffer("b", mx.ones(1), persistent="no"), "persistent"),
        (lambda m: m.register_parameter("p", 1.0), "param"),
        (lambda m: m.register_parameter(None, mx.ones(1)), "name"),
        (lambda m: m.apply(5), "fn"),
        (lambda m: m.apply(mx.ones(1)), "fn"),
        (lambda m: m.set_dtype("float"), "dtype"),
        (lambda m: m.set_dtype(None), "dtype"),
        (lambda m: m.set_dtype(mx.float16, predicate=True), "predicate"),
        (lambda m: m.load_weights(5), "file_or_weights"),
        (lambda m: m.load_weights([5]), "file_or_weights"),
        (lambda m: m.load_state_dict({}, strict=mx.ones(2)), "strict"),
        (lambda m: m.load_state_dict({}, cast="yes"), "cast"),
        (lambda m: nn.Buffer("1"), "data"),
        (lambda m: nn.Buffer(np.datetime64(1, "s")), "data"),
        (lambda m: nn.has_uninitialized_params(5), "model"),
    ],
)
def test_a_wrong_type_is_refused_by_name_and_changes_nothing(call, name):
    layer = nn.Conv3d(1, 2, 3)
    before = {key: array.tolist() for key, array in layer.state_dict().items()}
    with pytest.raises(TypeError, match=f"`{name}`"):
        call(layer)
    assert {key: a.tolist() for key, a in layer.state_dict().items()} == before
    assert layer.weight.dtype == mx.float32
