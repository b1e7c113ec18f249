"""What a notebook shows of a module: names, shapes, counts, what is lazy."""

from __future__ import annotations

from html.parser import HTMLParser

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import pytest


class Outline(HTMLParser):
    """The lines of a tree as (depth, text), and which of them begin open."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.lines: list[tuple[int, str]] = []
        self.open: list[int] = []  # the lines that begin open
        self._inside: list[str] = []
        self.feed(module._repr_html_())
        assert not self._inside, "every element is closed"

    def handle_starttag(self, tag, attrs):
        self._inside.append(tag)
        if tag == "li":
            self.lines.append((self._inside.count("li"), ""))
        if tag == "details" and "open" in dict(attrs):
            self.open.append(len(self.lines) - 1)

    def handle_endtag(self, tag):
        assert self._inside.pop() == tag

    def handle_data(self, data):
        if "style" not in self._inside and "li" in self._inside:
            depth, text = self.lines[-1]
            self.lines[-1] = (depth, text + data)

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.lines]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.LazyConv3d(8, 3, groups=2)
        self.scale = nn.Parameter(lucid.ones(3))
        self.register_buffer("steps", lucid.zeros(1, dtype="int32"))
        self.heads = nn.ModuleDict({"a<b": nn.Conv3d(8, 2, 1)})
        self.linear = mlx.nn.Linear(2, 3).freeze()


def test_names_shapes_and_parameters_in_pytorch_s_order():
    assert Outline(Net()).lines == [
        (1, "Net 30 parameters"),
        (2, "scale (3,) float32"),
        (2, "steps (1,) int32 buffer"),
        (
            2,
            "(conv): LazyConv3d(None, 8, kernel_size=(3, 3, 3), stride=(1, 1, 1), "
            "groups=2) lazy",
        ),
        (3, "weight (8, ?, 3, 3, 3) float32"),
        (3, "bias (8,) float32"),
        (2, "(heads): ModuleDict 18 parameters"),
        (
            3,
            "(a<b): Conv3d(8, 2, kernel_size=(1, 1, 1), stride=(1, 1, 1)) "
            "18 parameters",
        ),
        (4, "weight (2, 8, 1, 1, 1) float32"),
        (4, "bias (2,) float32"),
        (2, "(linear): Linear(input_dims=2, output_dims=3, bias=True) 9 parameters"),
        (3, "weight (3, 2) float32 frozen"),
        (3, "bias (3,) float32 frozen"),
    ]


def test_the_first_call_settles_what_is_shown():
    layer = nn.LazyConv3d(8, 3, groups=2)
    key = lucid.get_rng_state()
    assert "1 lazy layer waits for the first input" in layer._repr_html_()
    assert layer.weight is None
    assert mx.array_equal(lucid.get_rng_state(), key)
    layer(lucid.zeros(1, 4, 3, 3, 3))
    assert Outline(layer).texts[1] == "weight (8, 2, 3, 3, 3) float32"
    assert not Outline(layer).texts[0].endswith("lazy")
    assert "waits" not in layer._repr_html_()


def test_a_frozen_lazy_layer_and_a_half_one_are_told():
    shown = Outline(nn.LazyConv3d(8, 3, bias=False).half().freeze()).texts
    assert shown[1] == "weight (8, ?, 3, 3, 3) float16 frozen"


def test_functions_and_layers_without_arrays_are_leaves():
    shown = Outline(nn.Sequential(nn.ReLU(), mx.tanh, lambda x: x)).texts
    assert shown == ["Sequential", "(0): ReLU", "(1): tanh", "(2): <lambda>"]


def test_a_shared_layer_counts_once():
    shared = nn.Conv3d(2, 2, 1)
    shown = Outline(nn.Sequential(shared, shared)).texts
    assert shown[0] == "Sequential 6 parameters"


@pytest.mark.parametrize(("count", "opened"), [(3, 4), (40, 1)])
def test_a_small_model_begins_open_and_a_large_one_does_not(count, opened):
    blocks = [nn.Sequential(nn.Conv3d(1, 1, 1)) for _ in range(count)]
    assert len(Outline(nn.Sequential(*blocks)).open) == opened


def test_a_large_model_s_only_layer_begins_open():
    inside = nn.Sequential(*(nn.Conv3d(1, 1, 1) for _ in range(40)))
    assert Outline(nn.Sequential(inside)).open == [0, 1]


def test_plain_text_stays_pytorch_s():
    assert repr(nn.Sequential(nn.ReLU())) == "Sequential(\n  (0): ReLU()\n)"
