"""Casts, devices, training mode and freezing under PyTorch's names."""

from __future__ import annotations

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import pytest


def test_to_takes_pytorchs_arguments_without_meaning():
    model = nn.Conv3d(1, 1, 1)
    assert model.to("cpu", mx.float16, True) is model
    model.to("bfloat16", non_blocking=True, memory_format="channels_last_3d")
    assert model.weight.dtype == mx.bfloat16
    assert model.cpu() is model
    assert model.device == "cpu"


@pytest.mark.parametrize(
    "move",
    [
        lambda m: m.cuda(),
        lambda m: m.cuda(0),
        lambda m: m.to("cuda"),
        lambda m: m.to("cuda:0"),
        lambda m: m.to("mps"),
        lambda m: m.to(device="mps", dtype=mx.float16),
    ],
)
def test_other_gpus_are_refused_and_named(move):
    model = nn.Conv3d(1, 1, 1)
    with pytest.raises(ValueError, match=r"\.to\('gpu'\)"):
        move(model)
    assert model.weight.dtype == mx.float32


def test_an_array_is_no_dtype():
    with pytest.raises(TypeError, match=r"array\.dtype"):
        nn.ReLU().to(mx.ones(1))


def test_double_names_the_dtypes_there_are():
    with pytest.raises(TypeError, match="float32, float16 or bfloat16"):
        nn.ReLU().double()


@pytest.mark.parametrize("mode", ["invalid", 1, None])
def test_train_takes_a_bool(mode):
    with pytest.raises(ValueError, match="`mode`"):
        nn.ReLU().train(mode)


def test_train_calls_the_train_of_what_is_inside():
    class Frozen(nn.Module):
        def train(self, mode=True):
            return super().train(False)

    model = nn.Sequential(Frozen(), {"a": 1} and nn.Sequential(Frozen(), nn.ReLU()))
    assert model.train() is model
    modes = [module.training for module in model.modules()]
    assert modes == [True, False, True, False, True]
    assert model.eval() is model
    assert not any(module.training for module in model.modules())


def test_requires_grad_freezes_and_unfreezes():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = mx.ones(1)
            self.register_buffer("mean", mx.zeros(1))

    model = nn.Sequential(Scale(), mlx.nn.Linear(2, 2))
    assert model.requires_grad_(False) is model
    assert model.trainable_parameters() == {"layers": [{}, {}]}
    model.requires_grad_()
    assert list(model.trainable_parameters()["layers"][0]) == ["factor"]
    with pytest.raises(AttributeError, match=r"requires_grad_\(False\)"):
        model.requires_grad = False


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("zero_grad", ()),
        ("register_full_backward_hook", (print,)),
        ("register_backward_hook", (print,)),
        ("register_full_backward_pre_hook", (print,)),
    ],
)
def test_what_has_no_meaning_names_the_way(name, arguments):
    with pytest.raises(NotImplementedError, match=r"nn\.value_and_grad"):
        getattr(nn.ReLU(), name)(*arguments)


def test_a_cast_keeps_integers():
    model = nn.Module()
    model.register_buffer("steps", mx.array(3))
    model.half()
    assert model.steps.dtype == mx.int32
    assert lucid.nn.Module().half().state_dict() == {}
