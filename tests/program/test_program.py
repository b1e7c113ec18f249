"""Exported programs against what PyTorch made of them, and as modules of Lucid's."""

from __future__ import annotations

import copy
from pathlib import Path
import pickle

import lucid
from lucid import nn, optim
import mlx.core as mx
from mlx.utils import tree_flatten
import numpy as np
import pytest

DATA = Path(__file__).parents[1] / "data"


def program(name: str) -> nn.Module:
    return lucid.load_program(DATA / f"{name}.pt2")


def recorded(name: str, kind: str) -> list[mx.array]:
    """The inputs or outputs that PyTorch had."""
    with np.load(DATA / f"{name}.npz") as arrays:
        return [mx.array(arrays[key]) for key in arrays if key.startswith(kind)]


def close(got: mx.array, want: mx.array) -> bool:
    return bool(mx.allclose(got, want, rtol=1e-5, atol=1e-5))


@pytest.mark.parametrize("name", ["unet", "unet_training", "attention"])
def test_outputs_are_pytorch_s(name):
    net = program(name).eval()
    (x,), (want,) = recorded(name, "in"), recorded(name, "out")
    assert close(net(x), want)


def test_views_written_in_place_and_nested_arguments_are_pytorch_s():
    x, first, second, shift = recorded("in_place", "in")
    want = recorded("in_place", "out")
    got = program("in_place")(x, [first, second], options={"shift": shift})
    assert list(got) == ["y", "rest"]
    difference, (means,) = got["rest"]
    assert isinstance(got["rest"], tuple)
    assert all(map(close, (got["y"], difference, means), want))


def test_names_are_pytorch_s():
    names = list(program("unet").state_dict())
    assert names[:3] == ["down.0.weight", "down.0.bias", "down.1.weight"]
    assert "down.1.num_batches_tracked" in names
    buffers = [name for name, _ in program("in_place").named_buffers()]
    assert buffers == ["scale"]
    assert "scale" not in program("in_place").state_dict()  # it is not persistent


def test_the_mode_is_that_of_the_export_and_can_be_changed():
    x = mx.ones((2, 1, 4, 4, 4))
    for name, training in (("unet", False), ("unet_training", True)):
        net = program(name)
        assert net.training is training
        net.train()
        assert not close(net(x), net(x))  # dropout
        net.eval()
        assert close(net(x), net(x))


def test_running_statistics_move_once_a_step_and_only_in_training():
    x = mx.random.normal((2, 1, 4, 4, 4), key=mx.random.key(0))
    for name in ("unet", "unet_training"):
        net = program(name).eval()
        before = dict(net.named_buffers())
        held = {k: mx.array(v) for k, v in before.items()}
        net(x)
        assert all((dict(net.named_buffers())[k] == v).all() for k, v in held.items())
        net.train()
        step = nn.value_and_grad(net, lambda x, net=net: net(x).square().mean())
        step(x)
        y = nn.functional.conv3d(
            x, *map(net.down[0].get, ("weight", "bias")), padding=1
        )
        mean = 0.9 * held["down.1.running_mean"] + 0.1 * y.mean(axis=(0, 2, 3, 4))
        assert close(net.down[1]["running_mean"], mean)
    # The graph that was exported in training also counts the batches.
    assert net.down[1]["num_batches_tracked"].item() == 2


@pytest.mark.parametrize("compiled", [False, True])
def test_a_program_trains(compiled):
    net = program("unet")
    x = mx.random.normal((2, 1, 4, 4, 4), key=mx.random.key(1))
    target = mx.concatenate([x, 1 - x], axis=1)
    mx.eval(x, target)
    optimizer = optim.SGD(learning_rate=0.1)
    gradient = nn.value_and_grad(net, lambda x: (net(x) - target).square().mean())

    def step(x):
        loss, gradients = gradient(x)
        optimizer.update(net, gradients)
        return loss

    if compiled:
        state = [net.state, optimizer.state]
        step = mx.compile(step, inputs=state, outputs=state)
    losses = []
    for _ in range(8):
        losses.append(step(x).item())
        mx.eval(net.state, optimizer.state)
    assert losses[-1] < 0.9 * losses[0]


def test_frozen_arrays_have_no_gradient():
    net = program("unet")
    net.down.freeze()
    x = mx.ones((2, 1, 4, 4, 4))
    _, gradients = nn.value_and_grad(net, lambda x: net(x).sum())(x)
    names = [name for name, _ in tree_flatten(gradients)]
    assert "head.weight" in names
    assert not any(name.startswith("down") for name in names)


def test_any_size_and_batch_that_fit_are_taken():
    assert program("unet")(mx.ones((3, 1, 6, 2, 10))).shape == (3, 2, 6, 2, 10)
    assert program("attention")(mx.ones((1, 1, 8, 4, 2))).shape == (1, 8, 4, 2, 1)
    x = mx.ones((0, 1, 4, 4, 4))
    assert program("unet")(x).shape == (0, 2, 4, 4, 4)


def test_checkpointing_gives_the_same_gradients():
    net, (x,) = program("unet"), recorded("unet", "in")
    plain = nn.value_and_grad(net, lambda x: net(x).square().mean())(x)[1]
    run = mx.checkpoint(lambda p, x: net.update(p)(x))
    saved = mx.grad(lambda p: run(p, x).square().mean())(net.trainable_parameters())
    for (name, a), (_, b) in zip(tree_flatten(plain), tree_flatten(saved), strict=True):
        assert close(a, b), name


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("name", ["unet", "attention"])
def test_half_types_compute_in_half(name, dtype):
    net, (x,) = program(name).eval().to(dtype), recorded(name, "in")
    got = net(x.astype(dtype))
    assert got.dtype == dtype
    (want,) = recorded(name, "out")
    assert mx.abs(got - want).max().item() < 0.05


def test_constants_follow_the_dtype():
    net = program("in_place").half()
    x, first, second, shift = (a.astype(mx.float16) for a in recorded("in_place", "in"))
    got = net(x, [first, second], options={"shift": shift})
    assert got["y"].dtype == mx.float16
    net.float()
    x, first, second, shift = recorded("in_place", "in")
    again = net(x, [first, second], options={"shift": shift})
    assert mx.abs(again["y"] - got["y"]).max().item() < 0.05


def test_copies_are_independent_and_equal():
    net, (x,) = program("unet"), recorded("unet", "in")
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert close(twin(x), net(x))
        twin.head["bias"] = twin.head["bias"] + 1
        assert not close(twin(x), net(x))


def test_weights_are_saved_and_loaded_by_name(tmp_path):
    net, other = program("unet"), program("unet_training").eval()
    for _, array in other.named_parameters():
        array[...] = 0
    net.save_weights(tmp_path / "net.npz")
    other.load_state_dict(lucid.load(tmp_path / "net.npz"))
    (x,) = recorded("unet", "in")
    assert close(other(x), net(x))


def test_it_shows_its_modules_and_arrays():
    text = repr(program("unet"))
    assert text.startswith("Program(12 operations\n  (down): Scope(")
    assert "(up): Scope(weight (4, 4, 2, 2, 2), bias (4,))" in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: net(), "1 argument"),
        (lambda net, x: net(x, x), "1 argument"),
        (lambda net, x: net(x=x), "1 argument"),
        (lambda net, x: net([x]), "array"),
    ],
)
def test_other_arguments_than_the_export_s_are_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call(program("unet"), mx.ones((2, 1, 4, 4, 4)))


def test_nested_arguments_of_another_structure_are_named():
    net, x = program("in_place"), mx.ones((2, 1, 4, 6, 8))
    one = mx.array(1.0)
    with pytest.raises(TypeError, match=r"the arguments\[1\] must hold 2"):
        net(x, [one], options={"shift": one})
    with pytest.raises(TypeError, match=r"the named arguments\['options'\].*'shift'"):
        net(x, [one, one], options={"scale": one})
    with pytest.raises(TypeError, match="'options' by name"):
        net(x, [one, one])


def test_an_error_says_which_line_of_the_network_it_is_from():
    with pytest.raises(ValueError, match=r"aten\.conv3d.*export_programs\.py.*`input`"):
        program("unet")(mx.ones((2, 3, 4, 4, 4)))
