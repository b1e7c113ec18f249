"""Members that are None keep their place in the order of a state dict."""

from __future__ import annotations

import itertools

from lucid import nn
import mlx.core as mx
import pytest


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_registered_as_none_and_filled_in_any_order(order):
    model = nn.Module()
    for name in "abc":
        model.register_parameter(name, None)
    model.register_parameter("d", mx.ones(1))
    for name in order:
        setattr(model, name, mx.ones(1))
    assert list(model.state_dict()) == ["a", "b", "c", "d"]


def test_set_to_none_and_back():
    model = nn.Module()
    for name in "abc":
        model.register_buffer(name, mx.ones(1))
    model.a = None
    model.b = None
    assert list(model.state_dict()) == ["c"]
    model.b = mx.ones(1)
    model.a = mx.ones(1)
    assert list(model.state_dict()) == ["a", "b", "c"]
    assert [name for name, _ in model.named_buffers()] == ["a", "b", "c"]


def test_modules_too():
    model = nn.Module()
    model.a, model.b = nn.ReLU(), nn.ReLU()
    model.a = None
    model.a = nn.Tanh()
    assert [name for name, _ in model.named_children()] == ["a", "b"]


def test_a_plain_none_keeps_no_place():
    model = nn.Module()
    model.a = None
    model.b = mx.ones(1)
    model.a = mx.ones(1)
    assert list(model.state_dict()) == ["b", "a"]
