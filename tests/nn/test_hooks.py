"""Forward hooks and pre-hooks, as PyTorch's; with lazy layers and under transforms."""

from __future__ import annotations

import copy
from typing import Any

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import pytest

X = lucid.ones(1, 1, 2, 2, 2)


class Add(nn.Module):
    def forward(self, input, other=1):
        return input + other


def test_a_hook_sees_arguments_and_output():
    seen: list[Any] = []
    model = Add()
    model.register_forward_pre_hook(lambda *given: seen.append(given))
    model.register_forward_hook(lambda *given: seen.append(given))
    with_kwargs = model.register_forward_hook(
        lambda *given: seen.append(given), with_kwargs=True
    )
    x = mx.array(1.0)
    y = model(x, other=2)
    assert seen == [(model, (x,)), (model, (x,), y), (model, (x,), {"other": 2}, y)]
    with_kwargs.remove()
    model(x)
    assert len(seen) == 5


def test_a_hook_may_change_what_goes_in_and_comes_out():
    model = Add()
    model.register_forward_pre_hook(lambda m, args: args[0] * 10)
    model.register_forward_pre_hook(lambda m, args: (args[0] + 1,), prepend=True)
    model.register_forward_hook(lambda m, args, output: -output)
    assert model(mx.array(1.0)).item() == -21
    model.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {"other": 100}), with_kwargs=True
    )
    assert model(mx.array(1.0)).item() == -120


def test_hooks_run_in_their_order():
    order: list[str] = []
    model = Add()
    for name, prepend in (("b", False), ("c", False), ("a", True)):
        for register in (model.register_forward_pre_hook, model.register_forward_hook):
            register(lambda *_, name=name: order.append(name), prepend=prepend)
    model(X)
    assert order == [*"abc", *"abc"]


def test_a_handle_takes_its_hook_off():
    calls: list[int] = []
    model = Add()
    with model.register_forward_hook(lambda *_: calls.append(1)) as handle:
        model(X)
    model(X)
    handle.remove()
    assert calls == [1]


def test_a_hook_may_take_itself_off():
    calls: list[int] = []
    model = Add()

    def once(*_):
        calls.append(1)
        handle.remove()

    handle = model.register_forward_hook(once)
    model(X)
    model(X)
    assert calls == [1]


def test_hooks_of_inner_modules_give_features():
    model = nn.Sequential(nn.Conv3d(1, 3, 1), mlx.nn.Sequential(nn.ReLU()), nn.Tanh())
    shapes: dict[str, Any] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Module):
            module.register_forward_hook(
                lambda m, args, output, name=name: shapes.update({name: output.shape})
            )
    model(X)
    assert list(shapes) == ["0", "1.layers.0", "2", ""]
    assert shapes["0"] == (1, 3, 2, 2, 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model(X),
        lambda model: nn.value_and_grad(model, lambda x: model(x).sum())(X),
        lambda model: nn.materialize(model, X.shape) and model(X),
        lambda model: lucid.summary(model, X.shape) and model(X),
    ],
    ids=["call", "value_and_grad", "materialize", "summary"],
)
def test_hooks_do_not_run_while_a_first_call_is_tried(call):
    seen: list[Any] = []
    model = nn.Sequential(nn.LazyConv3d(3, 1), nn.ReLU())
    for module in (model, *model):
        module.register_forward_pre_hook(lambda m, args: seen.append(m))
        module.register_forward_hook(lambda m, args, output: seen.append(output.shape))
    call(model)
    shape = (1, 3, 2, 2, 2)
    assert seen == [model, model[0], shape, model[1], shape, shape]
    assert model[0].weight.shape == (3, 1, 1, 1, 1)


def test_hooks_run_in_gradients_and_change_them():
    model = nn.Sequential(nn.Conv3d(1, 1, 1, bias=False), nn.ReLU())
    step = nn.value_and_grad(model, lambda x: model(x).sum())
    nn.init.ones_(model[0].weight)
    value, grads = step(X)
    handle = model[0].register_forward_hook(lambda m, args, output: 2 * output)
    doubled, twice = step(X)
    assert doubled == 2 * value
    weight = ("layers", 0, "weight")
    for key in weight:
        grads, twice = grads[key], twice[key]
    assert mx.array_equal(twice, 2 * grads)
    handle.remove()
    assert mx.array_equal(mx.compile(model)(X), model(X))


def test_a_copy_has_hooks_of_its_own():
    calls: list[int] = []
    model = Add()
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    twin = copy.deepcopy(model)
    handle.remove()
    model(X)
    twin(X)
    assert len(calls) == 1


def test_what_cannot_be_called_is_no_hook():
    for register in (nn.ReLU().register_forward_hook, Add().register_forward_pre_hook):
        with pytest.raises(TypeError, match="`hook`"):
            register(1)
