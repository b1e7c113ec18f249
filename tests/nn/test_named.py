"""Modules, parameters and buffers by name; the same against PyTorch in the oracle."""

from __future__ import annotations

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
from mlx.utils import tree_flatten, tree_map
import pytest


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(mx.ones((3,)))
        self.register_buffer("mean", mx.zeros((3,)))

    def forward(self, x):
        return x * self.factor + self.mean


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(Scale(), nn.ReLU())
        self.blocks = [Scale(), nn.Sequential(Scale())]
        self.heads = {"mask": Scale()}
        self.linear = mlx.nn.Linear(3, 2)
        self.gain = mx.ones((1,))

    def forward(self, x):
        return self.linear(self.stem(x)) * self.gain


def names(pairs):
    return [name for name, _ in pairs]


def test_prefix_comes_before_every_name():
    model = Net()
    for call in (model.named_parameters, model.named_buffers):
        assert names(call(prefix="net")) == [f"net.{name}" for name in names(call())]
    assert names(model.named_modules(prefix="net"))[:2] == ["net", "net.stem"]
    assert list(model.state_dict(prefix="net.")) == [
        f"net.{name}" for name in model.state_dict()
    ]


def test_without_recurse_a_module_names_its_own():
    assert names(Net().named_parameters(recurse=False)) == ["gain"]
    assert names(Scale().named_buffers(recurse=False)) == ["mean"]
    assert Net().buffers(recurse=False) == []
    assert len(Net().buffers()) == 4


def test_what_is_shared_is_listed_once_unless_asked():
    shared = Scale()
    model = nn.Sequential(shared, shared)
    assert names(model.named_modules()) == ["", "0"]
    assert names(model.named_modules(remove_duplicate=False)) == ["", "0", "1"]
    assert names(model.named_parameters()) == ["0.factor"]
    assert names(model.named_parameters(remove_duplicate=False)) == [
        *("0.factor", "1.factor")
    ]
    assert names(model.named_buffers(remove_duplicate=False)) == ["0.mean", "1.mean"]
    assert len(model.modules()) == 2


def test_get_finds_what_the_names_say():
    model = Net()
    for name, module in model.named_modules():
        assert model.get_submodule(name) is module
    for name, array in model.named_parameters():
        assert model.get_parameter(name) is array
    for name, array in model.named_buffers():
        assert model.get_buffer(name) is array


@pytest.mark.parametrize(
    ("get", "target"),
    [
        ("get_submodule", "stem.7"),
        ("get_submodule", "gain"),
        ("get_parameter", "stem.0.mean"),
        ("get_parameter", "stem"),
        ("get_buffer", "gain"),
        ("get_buffer", "nothing"),
    ],
)
def test_get_says_what_there_is_instead(get, target):
    with pytest.raises(AttributeError, match=rf"no \w+ '{target}'; it has '"):
        getattr(Net(), get)(target)


@pytest.mark.parametrize("target", ["stem", "stem.1", "blocks.1.0", "heads.mask"])
def test_set_submodule_replaces(target):
    model, new = Net(), nn.Tanh()
    model.set_submodule(target, new, strict=True)
    assert model.get_submodule(target) is new
    assert dict(model.named_modules())[target] is new


def test_set_submodule_adds_where_there_is_room():
    model = Net()
    model.set_submodule("extra", nn.ReLU())
    model.set_submodule("stem.last", nn.Tanh())
    model.set_submodule("linear.bias2", nn.Tanh())
    assert isinstance(model.stem[2], nn.Tanh)
    assert isinstance(model.extra, nn.ReLU)
    for target, strict in (("gain", False), ("none.at.all", False), ("new", True)):
        with pytest.raises(AttributeError, match="no module"):
            model.set_submodule(target, nn.ReLU(), strict)
    for target, module in (("", nn.ReLU()), ("stem", mx.ones(1))):
        with pytest.raises(ValueError, match=r"`(target|module)`"):
            model.set_submodule(target, module)
    with pytest.raises(ValueError, match="contain itself"):
        model.set_submodule("stem.1", model)


def test_add_module_is_an_attribute_that_may_be_replaced():
    model = Scale()
    model.add_module("inner", nn.ReLU())
    model.register_module("inner", nn.Tanh())
    assert isinstance(model.inner, nn.Tanh)
    model.add_module("inner", None)
    assert model.inner is None
    assert names(model.named_children()) == []


@pytest.mark.parametrize(
    ("name", "module", "error"),
    [
        ("a.b", nn.ReLU(), KeyError),
        ("", nn.ReLU(), KeyError),
        ("factor", nn.ReLU(), KeyError),
        ("forward", nn.ReLU(), KeyError),
        (1, nn.ReLU(), TypeError),
        ("act", mx.ones(1), TypeError),
        ("act", mx.tanh, TypeError),
        ("0", nn.ReLU(), ValueError),
        ("_act", nn.ReLU(), ValueError),
    ],
)
def test_add_module_refuses(name, module, error):
    with pytest.raises(error, match=r"`(name|module)`"):
        Scale().add_module(name, module)


def test_parameters_are_mlxs_tree():
    model = Net()
    tree = model.parameters()
    assert names(tree_flatten(tree))[:2] == [
        *("stem.layers.0.factor", "stem.layers.0.mean")
    ]
    mx.eval(tree)
    model.update(tree_map(lambda x: x + 1, tree))
    assert (model.gain == 2).all()
    assert {**tree} == dict(tree) == dict(tree.items())
    grads = mx.grad(lambda p: 3 * p["gain"].sum())(model.parameters())
    assert grads["gain"] == 3


def test_parameters_taken_for_pytorchs_say_what_they_are():
    for model in (Net(), Scale()):
        with pytest.raises(TypeError, match="named_parameters"):
            next(model.parameters())
        for use in (
            lambda p: p.numel(),
            lambda p: p.data,
            lambda p: setattr(p, "requires_grad", False),
        ):
            parameter = list(model.parameters())[-1]
            with pytest.raises(AttributeError, match="named_parameters"):
                use(parameter)
    assert list(Scale().trainable_parameters()) == ["factor"]


def test_completion_shows_members():
    model = Net()
    assert {"stem", "blocks", "gain", "linear", "forward"} <= set(dir(model))
    assert {"weight", "bias"} <= set(dir(nn.LazyConv3d(1, 1)))
    model = nn.Sequential({"conv": nn.ReLU()})
    model.append(nn.ReLU())
    assert "conv" in dir(model)
    assert "1" not in dir(model)
    assert "_no_grad" in dir(model)  # as PyTorch's: hidden by its underscore alone


def test_lazy_parameters_are_named_before_they_exist():
    layer = nn.LazyConv3d(2, 1)
    assert names(layer.named_parameters()) == ["weight", "bias"]
    assert layer.get_parameter("weight").size == 0
    layer(lucid.ones(1, 1, 1, 1, 1))
    assert layer.get_parameter("weight") is layer.weight
