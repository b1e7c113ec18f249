"""ParameterList and ParameterDict: arrays of a model in a list, or under names."""

from __future__ import annotations

import copy
import pickle

from lucid import nn, optim
import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten
import pytest


def arrays(count: int) -> list[mx.array]:
    return [mx.full((2,), float(i)) for i in range(count)]


class Scales(nn.Module):
    def __init__(self):
        super().__init__()
        self.scales = nn.ParameterList(arrays(3))
        self.named = nn.ParameterDict({"left": mx.ones(2), "right": mx.ones(2)})

    def forward(self, x):
        for scale in self.scales:
            x = x * scale
        return x + self.named["left"] - self.named["right"]


def names(model):
    return [name for name, _ in model.named_parameters()]


def test_they_are_parameters_of_the_model():
    model = Scales()
    assert names(model) == [
        *("scales.0", "scales.1", "scales.2"),
        *("named.left", "named.right"),
    ]
    assert list(model.state_dict()) == names(model)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert names(twin) == names(model)
        state = {k: v + 1 for k, v in model.state_dict().items()}
        twin.load_state_dict(state)
        assert twin.scales[2].tolist() == [3.0, 3.0]
        assert model.scales[2].tolist() == [2.0, 2.0]


def test_they_are_trained_cast_frozen_and_saved_by_mlx(tmp_path):
    model, optimizer = Scales(), optim.Adam(0.1)
    step = nn.value_and_grad(model, lambda x: (model(x) - 3).square().sum())
    for _ in range(2):
        optimizer.update(model, step(mx.ones(2))[1])
        optimizer.state = tree_unflatten(tree_flatten(optimizer.state))
    assert model.named["left"].tolist() != [1.0, 1.0]
    assert model.scales[0].tolist() != [0.0, 0.0]
    path = str(tmp_path / "weights.npz")
    model.save_weights(path)
    assert (
        Scales().load_weights(path)(mx.ones(2)).tolist() == model(mx.ones(2)).tolist()
    )
    model.update(tree_unflatten(tree_flatten(model.parameters())))
    assert {v.dtype for v in model.half().state_dict().values()} == {mx.float16}
    model.scales.freeze()
    trained = [name for name, _ in tree_flatten(model.trainable_parameters())]
    assert trained == ["named.left", "named.right"]


def test_a_list_of_arrays_changes_as_a_list():
    first, *more = arrays(5)
    values = nn.ParameterList([first])
    assert values.append(more[0]) is values
    values.extend(more[1:3])
    values.insert(0, more[3])
    assert [value[0].item() for value in values] == [4, 0, 1, 2, 3]
    assert values[-1] is more[2]
    assert [value[0].item() for value in values[1:3]] == [0, 1]
    assert isinstance(values[1:3], nn.ParameterList)
    values[0] = mx.zeros(2)
    assert values.pop() is more[2]
    del values[:2]
    assert names(values) == ["0", "1"]
    assert len(values + nn.ParameterList([first])) == 3
    more = [first]
    assert len(values + more) == 3
    values += more
    assert len(values) == 3
    assert nn.ParameterList() is not None
    assert "(0): float32 of shape (2,)" in repr(values)


def test_a_dict_of_arrays_is_a_dict():
    values = nn.ParameterDict([("a", mx.ones(1))])
    values.update({"b": mx.zeros(1)})
    values["c"] = mx.zeros(1)
    assert list(values) == list(values.keys()) == ["a", "b", "c"]
    assert "b" in values
    assert len(values) == 3
    assert values.pop("c").tolist() == [0.0]
    assert list((values | {"d": mx.ones(1)}).items())[-1][0] == "d"
    values |= {"e": mx.ones(1)}
    copied = values.copy()
    copied.clear()
    assert list(values) == ["a", "b", "e"]
    assert names(copied) == []
    assert "(a): float32 of shape (1,)" in repr(values)


@pytest.mark.parametrize("value", [1.0, [1.0], nn.ReLU(), None])
def test_what_is_no_array_is_refused(value):
    with pytest.raises(TypeError, match="`values`"):
        nn.ParameterList([value])
    with pytest.raises(TypeError, match="`module`"):
        nn.ParameterList().append(value)
    with pytest.raises(TypeError, match="`a`"):
        nn.ParameterDict({"a": value})
    for wrong in (5, mx.ones(1)):
        with pytest.raises(TypeError, match="`values`"):
            nn.ParameterList(wrong)
        with pytest.raises(TypeError, match="`parameters`"):
            nn.ParameterDict(wrong)


@pytest.mark.parametrize(
    ("name", "error"), [("a.b", KeyError), ("items", KeyError), ("0", ValueError)]
)
def test_names_that_break_state_dicts_are_refused(name, error):
    with pytest.raises(error, match="`name`"):
        nn.ParameterDict({name: mx.ones(1)})


def test_some_of_a_list_can_be_frozen_while_the_others_are_trained():
    model = Scales()
    model.scales.freeze(keys=["layers.0"])
    _, gradients = nn.value_and_grad(model, lambda x: model(x).sum())(mx.ones(2))
    flat = dict(tree_flatten(gradients))
    assert "scales.layers.0" not in flat
    before = mx.array(model.scales[0])
    optim.SGD(learning_rate=0.5).update(model, gradients)
    assert mx.array_equal(model.scales[0], before)
