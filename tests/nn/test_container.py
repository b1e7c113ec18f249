"""Sequential, ModuleList and ModuleDict behave as PyTorch's do."""

from collections import OrderedDict

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
from mlx.utils import tree_flatten
import pytest


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(1, 2, 1), nn.ReLU(), nn.Conv3d(2, 3, 1))


def test_sequential_calls_layers_in_order():
    model = nn.Sequential(lambda x: x + 1, nn.ReLU(), mx.square)
    assert model(mx.array([-3.0, 2.0])).tolist() == [0.0, 9.0]


def test_empty_sequential_returns_its_input():
    x = mx.ones((2,))
    assert nn.Sequential()(x) is x


def test_sequential_indexes_slices_and_counts():
    model = net()
    assert len(model) == 3
    assert model[-1] is model[2]
    assert [type(layer).__name__ for layer in model] == ["Conv3d", "ReLU", "Conv3d"]
    assert isinstance(model[1:], nn.Sequential)
    assert list(model[::2]) == [model[0], model[2]]
    assert list(reversed(model)) == list(model)[::-1]
    assert model[1] in model
    assert nn.ReLU() not in model


@pytest.mark.parametrize(("index", "error"), [(3, IndexError), (-4, IndexError)])
def test_indices_beyond_the_layers_are_refused(index, error):
    with pytest.raises(error, match="3 layers"):
        net()[index]


@pytest.mark.parametrize("index", [1.0, None, True])
def test_indices_of_other_types_are_refused(index):
    with pytest.raises(TypeError, match="`index`"):
        net()[index]


def test_append_extend_insert_replace_and_delete():
    model = net()
    assert model.append(nn.Tanh()) is model
    model.extend([nn.Sigmoid(), nn.SiLU()])
    model.insert(0, nn.Identity())
    model[1] = nn.GELU()
    del model[-1]
    kinds = [type(layer).__name__ for layer in model]
    assert kinds == ["Identity", "GELU", "ReLU", "Conv3d", "Tanh", "Sigmoid"]
    assert list(model.state_dict()) == ["3.weight", "3.bias"]


@pytest.mark.parametrize("make", [dict, OrderedDict])
def test_named_layers_are_attributes_and_names_in_the_state_dict(make):
    model = nn.Sequential(make(first=nn.Conv3d(1, 2, 1), act=nn.ReLU()))
    assert model.first is model[0]
    assert list(model.state_dict()) == ["first.weight", "first.bias"]
    assert list(model[:1].state_dict()) == ["first.weight", "first.bias"]
    model.first = nn.Conv3d(1, 4, 1)
    assert model(lucid.zeros(1, 1, 1, 1, 1)).shape == (1, 4, 1, 1, 1)
    assert "first" in repr(model)


@pytest.mark.parametrize("name", ["", "a.b", "3", "_x"])
def test_names_that_break_state_dicts_are_refused(name):
    for make in (nn.Sequential, nn.ModuleDict):
        with pytest.raises(ValueError, match="cannot name a layer"):
            make({name: nn.ReLU()})


def test_what_cannot_be_called_is_no_layer():
    for make in (nn.Sequential, lambda layer: nn.ModuleList([layer])):
        with pytest.raises(TypeError, match="module or a function"):
            make(3)
    with pytest.raises(TypeError, match="`a`"):
        nn.ModuleDict({"a": 3})  # type: ignore[dict-item]


def test_members_of_a_subclass_are_kept_beside_its_layers():
    class Scaled(nn.Sequential):
        def __init__(self, *layers):
            super().__init__(*layers)
            self.scale = nn.Parameter(mx.ones((1,)))

        def forward(self, x):
            return super().forward(x) * self.scale

    model = Scaled(nn.Conv3d(1, 1, 1))
    assert list(model.state_dict()) == ["scale", "0.weight", "0.bias"]
    names = {name for name, _ in tree_flatten(model.trainable_parameters())}
    assert names == {"scale", "layers.0.weight", "layers.0.bias"}


def test_module_list_registers_its_layers():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nn.Conv3d(1, 1, 1) for _ in range(2))

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    model = Stack()
    model.blocks.append(nn.Conv3d(1, 2, 1))
    assert model(lucid.zeros(1, 1, 1, 1, 1)).shape == (1, 2, 1, 1, 1)
    assert list(model.state_dict())[-2:] == ["blocks.2.weight", "blocks.2.bias"]
    assert isinstance(model.blocks[:2], nn.ModuleList)


def test_module_dict_is_a_dict_of_its_layers():
    heads = nn.ModuleDict({"mask": nn.Conv3d(1, 1, 1)})
    heads["edge"] = nn.ReLU()
    assert list(heads) == list(heads.keys()) == ["mask", "edge"]
    assert [name for name, _ in heads.items()] == ["mask", "edge"]
    assert len(heads) == 2
    assert "mask" in heads
    assert list(heads.state_dict()) == ["mask.weight", "mask.bias"]
    del heads["edge"]
    assert "edge" not in heads


def test_flatten_and_identity():
    x = lucid.zeros(2, 3, 4, 5, 6)
    assert nn.Flatten()(x).shape == (2, 360)
    assert nn.Flatten(2, 3)(x).shape == (2, 3, 20, 6)
    assert nn.Identity(1, unused=2)(x) is x
    assert repr(nn.Flatten()) == "Flatten(start_dim=1, end_dim=-1)"


def test_mlx_modules_find_the_layers():
    model = mlx.nn.Sequential(nn.Sequential(nn.Conv3d(1, 1, 1)), nn.ModuleList())
    names = [name for name, _ in tree_flatten(model.parameters())]
    assert names == ["layers.0.layers.0.weight", "layers.0.layers.0.bias"]


def test_lists_of_layers_take_mlxs_and_pythons_ways_of_changing():
    model = nn.Sequential({"first": nn.Conv3d(1, 1, 1)})
    model.layers.append(nn.Conv3d(1, 1, 1))
    assert list(model.state_dict())[2:] == ["1.weight", "1.bias"]
    assert list(model[:2].state_dict()) == list(model.state_dict())
    blocks = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    blocks += [nn.SiLU()]
    assert repr(blocks.pop(0)) == "ReLU()"
    assert [type(block).__name__ for block in blocks] == ["Tanh", "SiLU"]


@pytest.mark.parametrize("name", ["layers", "training", "forward", "append"])
def test_names_that_sequential_itself_has_are_refused(name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        nn.Sequential({name: nn.ReLU()})
