"""The whole path of a GPU, as the public functions take it, in the emulator."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import lucid
from lucid import choice, nn
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.metal_emulator import emulated_metal
from tests.ops.test_formulations import geometry_of
from tests.oracle import MODES, Problem, direct, to_mlx, uniform
from tests.oracle.tolerances import assert_close, distance

FORWARD, INPUT, WEIGHT = "conv_forward", "conv_input_gradient", "conv_weight_gradient"

# One for each path of a forward and backward, and which kernels it launches if the
# padding is with zeros.
PATHS: dict[str, tuple[Problem, list[str]]] = {
    "depthwise": (
        Problem((2, 4, 3, 4, 5), (4, 1, 3, 3, 3), padding=1, groups=4),
        [FORWARD, INPUT, WEIGHT],
    ),
    "grouped": (
        Problem((2, 6, 3, 4, 5), (4, 3, 2, 3, 3), stride=2, padding=1, groups=2),
        [FORWARD, INPUT, WEIGHT],
    ),
    "first layer": (
        Problem((1, 2, 3, 4, 5), (8, 2, 3, 3, 3), padding="same"),
        [FORWARD, INPUT, WEIGHT],
    ),
    "head": (Problem((1, 16, 3, 4, 4), (1, 16, 3, 3, 3)), [FORWARD, INPUT, WEIGHT]),
    "matmul": (Problem((2, 5, 3, 4, 5), (7, 5, 1, 1, 1), stride=2), []),
    "dense": (Problem((2, 16, 3, 4, 5), (16, 16, 3, 2, 3), padding=1), [WEIGHT]),
    "dense, strided": (
        Problem((1, 12, 4, 5, 6), (16, 12, 3, 3, 3), stride=(2, 1, 3), padding=1),
        [WEIGHT],
    ),
    "by group": (
        Problem((1, 256, 2, 4, 8), (256, 128, 2, 3, 3), padding=(0, 1, 1), groups=2),
        [WEIGHT],
    ),
}


slow = [pytest.mark.slow]


def with_mode(case: Problem, mode: str) -> Problem:
    return dataclasses.replace(case, padding_mode=mode)


def launched_by(case: Problem) -> set[str]:
    """The kernels of the passes that are chosen for them, and of padding beforehand."""
    geometry = geometry_of(case)
    chosen = choice.choose_on_gpu(geometry, mx.float32, metal=True)
    picks = zip((FORWARD, INPUT, WEIGHT), chosen.passes.values(), strict=True)
    kernels = {
        name for name, pick in picks if pick.formulation.name.startswith("Lucid")
    }
    if case.padding_mode == "zeros" or chosen.formulation.every_mode:
        return kernels
    return kernels | ({"pad", "pad_adjoint"} if geometry.is_padded else set())


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        pytest.param(path, mode, marks=slow * ((i + j) % 4 > 0))
        for i, path in enumerate(PATHS)
        for j, mode in enumerate(MODES)
    ],
)
def test_every_path_equals_the_oracle(path, mode):
    case, kernels = PATHS[path]
    case = with_mode(case, mode)
    rng = np.random.default_rng(0)
    arrays = case.draw(rng)
    y = direct.conv3d(*arrays, **case.options)
    dy = uniform(rng, y.shape)
    exact = direct.conv3d_gradients(*arrays[:2], dy, **case.options)
    with emulated_metal() as emulation:
        (got,), gradients = mx.vjp(case.function, to_mlx(arrays), to_mlx([dy]))
        mx.eval(got, gradients)
    assert_close(got, y, f"output of {case}")
    for gradient, want in zip(gradients, exact, strict=True):
        assert_close(gradient, want, f"a gradient of {case}")
    if mode == "zeros":
        assert emulation.names == kernels
    assert set(emulation.names) == launched_by(case)
    assert emulation.twins == []
    assert emulation.type_errors() == []


@pytest.mark.parametrize(
    ("path", "dtype"),
    [
        pytest.param(path, dtype, marks=slow * ((i + j) % 2))
        for i, path in enumerate(PATHS)
        for j, dtype in enumerate((mx.float16, mx.bfloat16))
    ],
    ids=str,
)
def test_half_types_lose_no_more_than_a_rounding_or_two(path, dtype):
    case, _ = PATHS[path]
    rng = np.random.default_rng(0)
    arrays = [np.array(a.astype(mx.float32)) for a in to_mlx(case.draw(rng), dtype)]
    want = direct.conv3d(*arrays, **case.options)
    with emulated_metal():
        got = case.function(*to_mlx(arrays, dtype))
    assert got.dtype == dtype
    # MLX's matrix path adds the bias after a rounding of its own.
    assert distance(got, want) <= 2 * (2**-11 if dtype == mx.float16 else 2**-8)


@pytest.mark.parametrize("path", ["depthwise", "grouped", "dense, strided", "matmul"])
@pytest.mark.parametrize("mode", ["zeros", pytest.param("reflect", marks=slow)])
def test_second_gradients_equal_those_of_the_cpu(path, mode):
    case = with_mode(PATHS[path][0], mode)
    arrays = to_mlx(case.draw(np.random.default_rng(0)))

    def slope(*arrays: mx.array) -> mx.array:
        def loss(*xs: mx.array) -> mx.array:
            return case.function(*xs).square().mean()

        return sum(g.square().mean() for g in mx.grad(loss, (0, 1))(*arrays))

    want = mx.grad(slope, (0, 1, 2))(*arrays)
    with emulated_metal() as emulation:
        got = mx.grad(slope, (0, 1, 2))(*arrays)
        mx.eval(got)
    for a, b in zip(got, want, strict=True):
        assert_close(a, np.array(b), f"a second gradient of {case}")
    assert emulation.twins == []


@pytest.mark.parametrize("path", ["depthwise", "dense", "matmul"])
def test_gradients_under_compile_and_checkpoint(path):
    case = with_mode(PATHS[path][0], "circular")
    arrays = to_mlx(case.draw(np.random.default_rng(0)))

    def loss(*xs: mx.array) -> mx.array:
        return case.function(*xs).square().mean()

    want = mx.grad(loss, (0, 1, 2))(*arrays)
    with emulated_metal() as emulation:
        compiled = mx.compile(mx.grad(loss, (0, 1, 2)))(*arrays)
        twins = list(emulation.twins)
        again = mx.grad(mx.checkpoint(loss), (0, 1, 2))(*arrays)
        mx.eval(compiled, again)
    assert bool(twins) == (path != "matmul")  # a trace evaluates nothing
    for got in (compiled, again):
        for a, b in zip(got, want, strict=True):
            assert_close(a, np.array(b), f"a gradient of {case}")


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_batch_has_gradients_of_zeros(mode):
    case = Problem((0, 4, 3, 4, 5), (4, 1, 3, 3, 3), groups=4, padding_mode=mode)
    arrays = to_mlx(case.draw(np.random.default_rng(0)))
    with emulated_metal() as emulation:
        gradients = mx.grad(lambda *xs: case.function(*xs).sum(), (0, 1, 2))(*arrays)
    assert [g.shape for g in gradients] == [a.shape for a in arrays]
    assert not any(mx.any(g).item() for g in gradients)
    assert emulation.names == []


def test_layers_run_where_they_are_told():
    x = lucid.randn(1, 4, 3, 4, 5)
    with emulated_metal() as emulation:
        layer = nn.Conv3d(4, 4, 3, padding=1, groups=4, device="gpu")
        on_gpu = layer(x)
        assert emulation.names == [FORWARD]
        layer.to("cpu")
        on_cpu = layer(x)
        assert emulation.names == [FORWARD]
        layer.to("metal")
        assert mx.array_equal(layer(x), on_gpu)
    assert_close(on_gpu, np.array(on_cpu), "output")


def test_a_training_step_of_a_lazy_network():
    lucid.manual_seed(0)
    model = nn.Sequential(
        nn.LazyConv3d(8, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
        nn.LazyConv3d(8, 3, padding=1, groups=8, stride=2),
        nn.LazyConv3d(3, 1),
    )
    x = lucid.randn(1, 2, 4, 5, 6)

    def step() -> tuple[mx.array, Any]:
        return nn.value_and_grad(model, lambda x: model(x).square().mean())(x)

    with emulated_metal() as emulation:
        loss, gradients = step()
        mx.eval(loss, gradients)
    # The input of the network needs no gradient: that kernel is never run.
    assert sorted(set(emulation.names)) == sorted([FORWARD, INPUT, WEIGHT])
    want, exact = step()
    assert_close(loss, np.array(want), "loss")
    for name in ("weight", "bias"):
        for i in (0, 2, 3):
            got = gradients["layers"][i][name]
            assert_close(got, np.array(exact["layers"][i][name]), f"{name} of {i}")


def test_switched_off_by_the_variable_or_for_a_while(monkeypatch):
    case, kernels = PATHS["depthwise"]
    arrays = to_mlx(case.draw(np.random.default_rng(0)))
    want = case.function(*arrays)
    with emulated_metal() as emulation:
        with lucid.plain_operations():
            off = case.function(*arrays)
            per_sample = mx.vmap(lambda x: case.function(x[None], *arrays[1:])[0])
            by_vmap = per_sample(arrays[0])
        monkeypatch.setenv("LUCID_METAL", "0")
        off_too = case.function(*arrays)
        assert emulation.names == emulation.twins == []
        monkeypatch.delenv("LUCID_METAL")
        on = case.function(*arrays)
        assert emulation.names == kernels[:1]
    for got in (off, off_too, by_vmap, on):
        assert_close(got, np.array(want), "output")


@pytest.mark.parametrize("by", ["context", "variable"])
def test_conv3d_without_kernels_can_be_exported(by, tmp_path, monkeypatch):
    layer = nn.Conv3d(16, 16, 3)
    x = lucid.randn(1, 16, 3, 4, 5)
    file = str(tmp_path / "layer.mlxfn")
    plain = lucid.plain_operations() if by == "context" else contextlib.nullcontext()
    if by == "variable":
        monkeypatch.setenv("LUCID_METAL", "0")
    with emulated_metal(), plain:
        mx.export_function(file, layer, x)
    assert_close(mx.import_function(file)(x)[0], np.array(layer(x)), "output")


def test_public_functions_work_without_metal_as_before():
    """The default device of this machine, whatever it is."""
    x = lucid.randn(1, 4, 3, 4, 5)
    w = lucid.randn(4, 1, 3, 3, 3)
    y = F.conv3d(x, w, groups=4, padding=1)
    want = direct.conv3d(np.array(x), np.array(w), groups=4, padding=1)
    assert_close(y, want, "output")
