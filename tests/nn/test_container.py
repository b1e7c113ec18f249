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


@pytest.mark.parametrize(
    ("name", "error"), [("", KeyError), ("a.b", KeyError), ("_x", ValueError)]
)
def test_names_that_break_state_dicts_are_refused(name, error):
    for make in (nn.Sequential, nn.ModuleDict):
        with pytest.raises(error, match="`name`"):
            make({name: nn.ReLU()})


def test_numbers_name_layers_where_they_are_listed():
    model = nn.Sequential({"3": nn.Conv3d(1, 1, 1, bias=False)})
    assert list(model.state_dict()) == ["3.weight"]
    with pytest.raises(ValueError, match="must not be a number"):
        nn.ModuleDict({"3": nn.ReLU()})


def test_what_cannot_be_called_is_no_layer():
    for make in (nn.Sequential, lambda layer: nn.ModuleList([layer])):
        with pytest.raises(TypeError, match="modules or functions"):
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
    with pytest.raises(KeyError, match=f"'{name}'"):
        nn.Sequential({name: nn.ReLU()})


class Block(nn.Sequential):
    """As ported code has them: layers assigned after `super().__init__()`."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.act = nn.ReLU()


def test_modules_assigned_in_a_subclass_are_layers():
    block = Block()
    assert block(lucid.ones(1, 1, 5, 5, 5)).shape == (1, 4, 3, 3, 3)
    assert len(block) == 2
    assert block[0] is block.conv
    assert list(block.state_dict()) == ["conv.weight", "conv.bias"]
    block.act = nn.Tanh()
    assert [type(layer).__name__ for layer in block] == ["Conv3d", "Tanh"]


def test_a_module_assigned_later_is_called_last():
    model = nn.Sequential(nn.Conv3d(1, 4, 3))
    model.head = nn.Conv3d(4, 2, 1)
    assert model(lucid.ones(1, 1, 5, 5, 5)).shape == (1, 2, 3, 3, 3)
    assert list(model.state_dict())[2:] == ["head.weight", "head.bias"]
    del model.head
    assert model(lucid.ones(1, 1, 5, 5, 5)).shape == (1, 4, 3, 3, 3)
    assert not hasattr(model, "head")


def test_an_attribute_may_become_a_layer():
    model = nn.Sequential(nn.Conv3d(1, 1, 1))
    model.head = None
    model.sizes = []
    model.head = nn.ReLU()
    assert len(model) == 2
    assert model.sizes == []


def test_what_a_sequential_would_never_call_is_refused():
    model = nn.Sequential()
    for value in ([nn.ReLU()], {"a": nn.ReLU()}):
        with pytest.raises(AttributeError, match="one each"):
            model.blocks = value
    with pytest.raises(AttributeError, match="`layers`"):
        model.layers = nn.ReLU()


def test_children_are_modules_to_python_and_a_tree_to_mlx():
    model = net()
    assert list(model.children()) == list(model)
    assert model[0] in model.children()
    assert nn.ReLU() not in model.children()
    assert len(model.children()) == 3
    part = nn.Sequential(*list(model.children())[:-1])
    assert part(lucid.ones(1, 1, 2, 2, 2)).shape == (1, 2, 2, 2, 2)
    assert list(model.children().items()) == [("layers", list(model))]


def test_children_of_a_sequential_are_its_functions_too():
    model = nn.Sequential(nn.ReLU(), mx.square)
    again = nn.Sequential(*model.children())
    assert again(mx.array([-1.0, 3.0])).tolist() == [0.0, 9.0]
    assert "square" in repr(model)


def test_mlxs_machinery_descends_through_children():
    model = nn.Sequential(net(), nn.ModuleDict({"a": nn.Conv3d(3, 1, 1)}))
    assert model.freeze().trainable_parameters() == {
        "layers": [{"layers": [{}, {}, {}]}, {"a": {}}]
    }
    assert all(layer.training is False for layer in model.eval().modules())
    leaves = tree_flatten(model.leaf_modules(), is_leaf=mlx.nn.Module.is_module)
    assert [type(leaf).__name__ for _, leaf in leaves] == [
        *("Conv3d", "ReLU", "Conv3d", "Conv3d")
    ]
    model.set_dtype(mx.float16)
    assert model[1]["a"].weight.dtype == mx.float16


def test_update_modules_takes_children_and_replaces_layers():
    model, other = net(), net()
    model.update_modules(other.children())
    assert list(model) == list(other)
    mlx.nn.Sequential(model).update_modules({"layers": [{"layers": [{}, nn.Tanh()]}]})
    assert isinstance(model[1], nn.Tanh)


def test_repr_shows_a_repeated_layer_each_time():
    act = nn.ReLU()
    assert repr(nn.Sequential(act, act)).count("ReLU()") == 2


def test_sequentials_add_and_multiply():
    a, b = net(), nn.Sequential(nn.Tanh())
    assert list(a + b) == [*a, *b]
    assert type(a + b) is nn.Sequential
    for twice in (a * 2, 2 * a):
        assert list(twice) == [*a, *a]
    b *= 2
    assert len(b) == 2
    with pytest.raises(ValueError, match="`times`"):
        a * 0
    for wrong in (lambda: a * 1.5, lambda: a + b.layers):
        with pytest.raises(TypeError):
            wrong()


def test_module_lists_add():
    a, b = nn.ModuleList([nn.ReLU()]), nn.ModuleList([nn.Tanh()])
    assert list(a + b) == [*a, *b]
    assert list(a + b.layers) == [*a, *b]
    with pytest.raises(TypeError, match="`other`"):
        a + 5
    with pytest.raises(TypeError, match="`modules`"):
        nn.ModuleList(5)  # type: ignore[arg-type]


def test_insert_returns_the_container_and_checks_its_index():
    model = net()
    assert model.insert(-1, nn.Tanh()) is model
    assert [type(m).__name__ for m in model] == ["Conv3d", "ReLU", "Tanh", "Conv3d"]
    for index in (5, -5):
        with pytest.raises(IndexError, match="4 layers"):
            model.insert(index, nn.ReLU())


def test_slices_delete_and_pop():
    model = net()
    layers = list(model)
    del model[1:]
    assert list(model) == layers[:1]
    model = nn.Sequential(*layers)
    assert list(model.pop(slice(1, None))) == layers[1:]
    assert list(model) == layers[:1]


def test_a_part_keeps_names_and_appends_beside_them():
    part = net()[1:]
    assert [name for name, _ in part.named_children()] == ["1", "2"]
    part.append(nn.Tanh())
    assert [name for name, _ in part.named_children()] == ["1", "2", "3"]


def test_add_module_appends_or_replaces():
    model = nn.Sequential()
    for i in range(2):
        model.add_module(f"layer{i}", nn.Conv3d(1, 1, 1, bias=False))
    model.register_module("7", nn.ReLU())
    model.add_module("layer1", nn.Tanh())
    assert [name for name, _ in model.named_children()] == ["layer0", "layer1", "7"]
    assert isinstance(model[1], nn.Tanh)


def test_lists_and_dicts_of_modules_cannot_be_called():
    for container in (nn.ModuleList([nn.ReLU()]), nn.ModuleDict({"a": nn.ReLU()})):
        with pytest.raises(NotImplementedError, match="defines no `forward`"):
            container(mx.ones(1))


@pytest.mark.parametrize(
    "more",
    [
        {"b": nn.ReLU()},
        [("b", nn.ReLU())],
        nn.ModuleDict({"b": nn.ReLU()}),
    ],
    ids=["dict", "pairs", "ModuleDict"],
)
def test_module_dict_updates(more):
    heads = nn.ModuleDict([("a", nn.Conv3d(1, 1, 1, bias=False))])
    heads.update(more)
    assert list(heads) == ["a", "b"]
    heads.update({"a": {"weight": mx.zeros((1, 1, 1, 1, 1))}})  # as an optimizer
    assert heads["a"].weight.sum() == 0


@pytest.mark.parametrize(
    ("modules", "error"),
    [(5, TypeError), ([5], TypeError), ([("a",)], ValueError), ({"a": 3}, TypeError)],
)
def test_module_dict_refuses_what_holds_no_modules(modules, error):
    with pytest.raises(error, match=r"`modules`|`a`"):
        nn.ModuleDict(modules)


def test_a_module_cannot_contain_itself():
    model = net()
    outer = nn.ModuleDict({"net": model})
    for build in (
        lambda: model.append(model),
        lambda: setattr(model, "again", outer),
        lambda: outer.update({"outer": outer}),
        lambda: model.insert(0, nn.ModuleList([outer])),
    ):
        with pytest.raises(ValueError, match="contain itself"):
            build()
    assert len(model) == 3


@pytest.mark.parametrize("index", [slice(0, 2, 0), slice("a"), slice(None, 1.5)])
def test_a_slice_that_is_none_is_refused_by_name(index):
    layers = nn.ModuleList([nn.ReLU(), nn.ReLU()])
    for refused in (
        lambda: layers[index],
        lambda: layers.pop(index),
        lambda: layers.__delitem__(index),
    ):
        with pytest.raises((TypeError, ValueError), match="`index`"):
            refused()
    assert len(layers) == 2
