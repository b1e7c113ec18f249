"""Every row of `tests/layers.py` against PyTorch's layer (or MONAI's) in float64."""

from __future__ import annotations

import inspect
from typing import Any

from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
from mlx.utils import tree_flatten
from monai import losses
import numpy as np
import pytest
import torch

from tests.layers import REFUSED, ROWS
from tests.oracle.tolerances import FLOAT32, RELATIVE, distance
from tests.rows import Row, drawn_state, outputs

torch.set_num_threads(2)

# PyTorch warns that an even kernel's 'same' may copy.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")

CLASSES = sorted({row.name for row in ROWS})
# Arguments that PyTorch deprecated long ago.
DEPRECATED = ("size_average", "reduce")
# Arguments of functions: in place, in another dtype, or for warnings' sake.
OF_PYTORCH_ALONE = ("inplace", "dtype", "out", "_stacklevel")
GUESSES_AN_AXIS = ("Softmax", "softmax", "LogSoftmax", "log_softmax")

of_every_row = pytest.mark.parametrize("row", ROWS, ids=str)


def theirs(name: str) -> Any:
    """PyTorch's class of this name, or MONAI's."""
    if hasattr(torch.nn, name):
        return getattr(torch.nn, name)
    return getattr(losses, name)


class Pair:
    """A row's layer in Lucid and in PyTorch, in float64, with the same state."""

    def __init__(self, row: Row, training: bool):
        self.row = row
        self.ours = row.layer().train(training)
        self.theirs = theirs(row.name)(*row.arguments, **row.options)
        state = drawn_state(self.ours, seed=0)
        self.theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
        self.theirs.double().train(training)
        self.arrays = row.draw()
        self.where = row.differentiable()

    def our_inputs(self) -> list[mx.array]:
        return [mx.array(array) for array in self.arrays]

    def their_inputs(self) -> list[torch.Tensor]:
        tensors = []
        for i, array in enumerate(self.arrays):
            tensor = torch.tensor(array)
            tensor = tensor.double() if array.dtype.kind == "f" else tensor.long()
            tensors.append(tensor.requires_grad_(i in self.where))
        return tensors

    def their_output(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Of copies: some work in place."""
        return outputs(self.theirs(*[tensor.clone() for tensor in tensors]))


def assert_close(got: Any, want: Any, row: Row, name: str) -> None:
    if isinstance(want, torch.Tensor):
        want = want.detach().numpy()
    off, bound = distance(got, want), row.tolerance * FLOAT32
    assert off <= bound, f"{name} is off by {off:.2e}, more than {bound:.0e}"


@of_every_row
def test_outputs_and_buffers_equal_pytorchs(row):
    for training in row.modes():
        pair = Pair(row, training)
        got = outputs(pair.ours(*pair.our_inputs()))
        want = pair.their_output(pair.their_inputs())
        for a, b in zip(got, want, strict=True):
            assert_close(a, b, row, "output")
        after = pair.theirs.state_dict()
        for name, array in pair.ours.state_dict().items():
            assert_close(array, after[name], row, name)


class Losses:
    """A weighted sum of a pair's outputs, to a power, and what it depends on."""

    def __init__(self, row: Row, training: bool, power: int):
        self.pair = pair = Pair(row, training)
        self.power = power
        ts = pair.their_inputs()
        y = pair.their_output(ts)[0]
        rng = np.random.default_rng(1)
        self.weights = rng.uniform(0.5, 1.5, y.shape).astype(np.float32)
        self.theirs = (y**power * torch.tensor(self.weights).double()).sum()
        named = sorted(pair.theirs.named_parameters())
        self.their_sources = [*(ts[i] for i in pair.where), *(p for _, p in named)]
        self.inputs = pair.our_inputs()
        chosen = [self.inputs[i] for i in pair.where]
        self.sources = chosen, pair.ours.trainable_parameters()

    def ours(self, chosen: list[mx.array], parameters: Any) -> mx.array:
        self.pair.ours.update(parameters)
        given = dict(enumerate(self.inputs))
        given |= dict(zip(self.pair.where, chosen, strict=True))
        y = outputs(self.pair.ours(*given.values()))[0]
        return (y**self.power * mx.array(self.weights)).sum()


def flat(gradients: Any) -> list[mx.array]:
    """Inputs first, then parameters by name."""
    inputs, parameters = gradients
    return [*inputs, *(array for _, array in sorted(tree_flatten(parameters)))]


@of_every_row
def test_gradients_equal_pytorchs(row):
    for training in row.modes():
        losses = Losses(row, training, power=1)
        if losses.their_sources:
            got = flat(mx.grad(losses.ours, (0, 1))(*losses.sources))
            want = torch.autograd.grad(losses.theirs, losses.their_sources)
            for a, b in zip(got, want, strict=True):
                assert_close(a, b, row, "a gradient")


@of_every_row
def test_second_gradients_equal_pytorchs(row):
    """The gradients of the sum of the gradients' squares."""
    for training in row.modes():
        losses = Losses(row, training, power=2)
        if not losses.their_sources:
            continue

        def squares(*sources: Any, ours: Any = losses.ours) -> mx.array:
            return sum(g.square().sum() for g in flat(mx.grad(ours, (0, 1))(*sources)))

        got = flat(mx.grad(squares, (0, 1))(*losses.sources))
        first = torch.autograd.grad(
            losses.theirs, losses.their_sources, create_graph=True
        )
        total = sum(g.square().sum() for g in first)
        want = torch.autograd.grad(total, losses.their_sources, materialize_grads=True)
        for a, b in zip(got, want, strict=True):
            assert_close(a, b, row, "a second gradient")


@of_every_row
def test_state_dicts_go_both_ways_in_the_same_order(row):
    ours = getattr(nn, row.name)(*row.arguments, **row.options)
    other = theirs(row.name)(*row.arguments, **row.options)
    state = other.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({name: tensor.numpy() for name, tensor in state.items()})
    back = {name: torch.tensor(np.array(a)) for name, a in ours.state_dict().items()}
    assert {k: (v.shape, v.dtype) for k, v in back.items()} == {
        k: (v.shape, v.dtype) for k, v in state.items()
    }
    other.load_state_dict(back)


@of_every_row
def test_a_layer_is_shown_as_pytorchs(row):
    ours = getattr(nn, row.name)(*row.arguments, **row.options)
    assert repr(ours) == repr(theirs(row.name)(*row.arguments, **row.options))


@pytest.mark.parametrize("row", [r for r in ROWS if r.lazy is not None], ids=str)
def test_a_lazy_layer_is_shown_as_pytorchs(row):
    kind = getattr(torch.nn, f"Lazy{row.name}")
    assert repr(row.lazy_layer()).replace("None", "0") == repr(
        kind(*row.lazy, **row.options)
    ).replace("None", "0")


def signature(function: Any) -> list[tuple[str, Any, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters if p.name not in DEPRECATED]


LAZY_CLASSES = sorted({f"Lazy{row.name}" for row in ROWS if row.lazy is not None})


@pytest.mark.parametrize("name", [*CLASSES, *LAZY_CLASSES])
def test_constructors_take_pytorchs_arguments(name):
    ours, other = getattr(nn, name), theirs(name)
    if name in GUESSES_AN_AXIS:
        pytest.skip("PyTorch guesses an axis, with a warning; Lucid asks for it")
    if other.__init__ is torch.nn.Module.__init__:
        assert signature(ours) == []  # theirs says *args, **kwargs and takes none
    else:
        assert signature(ours) == signature(other)


@pytest.mark.parametrize("name", F.__all__)
def test_functions_begin_with_pytorchs_arguments(name):
    """Ours may have more of them at the end."""
    theirs = torch.nn.functional
    function = getattr(theirs, f"{name}_with_indices", getattr(theirs, name, None))
    if function is None or name in GUESSES_AN_AXIS:
        pytest.skip("PyTorch has none, or guesses an axis where Lucid asks for it")
    try:
        want = signature(function)
    except ValueError:
        pytest.skip("a builtin, which tells no signature")
    ours, want = (
        [entry for entry in entries if entry[0] not in OF_PYTORCH_ALONE]
        for entries in (signature(getattr(F, name)), want)
    )
    assert ours[: len(want)] == want


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("BatchNorm3d", (4,)),
        ("InstanceNorm3d", (4, 1e-5, 0.1, True, True)),
        ("GroupNorm", (2, 4)),
        ("LayerNorm", (7,)),
    ],
)
def test_a_float32_norm_of_a_half_input(name, arguments, dtype, training):
    ours = getattr(nn, name)(*arguments).train(training)
    other = theirs(name)(*arguments).train(training)
    state = drawn_state(ours, seed=0)
    ours.load_state_dict(state)
    other.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 6, 7)).astype(np.float32)
    half = mx.array(x).astype(getattr(mx, dtype))
    got = ours(half)
    given = torch.tensor(x).to(getattr(torch, dtype))
    assert str(other(given).dtype).removeprefix("torch.") == dtype
    assert got.dtype == half.dtype
    other.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    want = other.double()(given.double()).detach().numpy()
    assert distance(got, want) <= RELATIVE[half.dtype]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_is_refused_pytorch_refuses_too(case):
    def attempt() -> None:
        layer = theirs(case.name)(*case.arguments, **case.options)
        if case.shapes is not None:
            layer(*[torch.ones(shape) for shape in case.shapes])

    with pytest.raises((ValueError, TypeError, RuntimeError, AssertionError)) as caught:
        attempt()
    # Of PyTorch's RuntimeErrors, some are about a value and some about a type.
    if caught.type in (ValueError, TypeError):
        assert caught.type is case.error
