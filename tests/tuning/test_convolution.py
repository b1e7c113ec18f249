"""What is measured to be the fastest computes a convolution."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import dataclasses
import json
from pathlib import Path
from typing import Any

import lucid
from lucid import choice, nn
import lucid.metal
import lucid.nn.functional as F
from lucid.ops.conv import Formulation
from lucid.ops.conv_grid import GRID
from lucid.ops.conv_plain import COLUMNS
from lucid.ops.conv_winograd import WINOGRAD
from lucid.tuning import timing
import mlx.core as mx
import numpy as np
import pytest

from tests.metal_emulator import emulated_metal
from tests.oracle import Problem, direct, to_mlx, uniform
from tests.oracle.tolerances import assert_close
from tests.test_choice import geometry_of

DENSE = geometry_of(16, 16, size=6)
PASSES = ("forward", "input_gradient", "weight_gradient")


class Planted:
    """A clock, and formulations that take as long as they are told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def slow(self, formulation: Formulation, *milliseconds: float) -> Formulation:
        """With these times for its passes."""

        def slowed(function: Any, taken: float) -> Any:
            def run(*arguments: Any) -> mx.array:
                self.now += taken / 1000
                return function(*arguments)

            return run

        passes = {
            name: slowed(getattr(formulation, name), taken)
            for name, taken in zip(PASSES, milliseconds, strict=True)
        }
        return dataclasses.replace(formulation, **passes)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, brief: None) -> Planted:
    clock = Planted()
    monkeypatch.setattr(timing, "clock", clock)
    return clock


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has these candidates measured; the first is what the rules choose."""

    def offer(*formulations: Formulation) -> None:
        rule = choice.Choice.of(formulations[0], "the rule")
        monkeypatch.setattr(choice, "choose_by_rules", lambda *_: rule)
        monkeypatch.setattr(choice, "candidates", lambda _: list(formulations))

    return offer


def chosen(geometry: Any = DENSE) -> dict[str, str]:
    with lucid.autotune():
        passes = choice.choose(geometry).passes
    return {what: pick.formulation.name for what, pick in passes.items()}


def everywhere(name: str) -> dict[str, str]:
    return dict.fromkeys(("forward", "input gradient", "weight gradient"), name)


def test_every_pass_has_its_fastest(planted, offered):
    offered(planted.slow(GRID, 5, 1, 9), planted.slow(WINOGRAD, 2, 9, 3))
    assert chosen() == {
        "forward": "Winograd",
        "input gradient": "flat grid",
        "weight gradient": "Winograd",
    }
    with lucid.autotune():
        forward = choice.choose(DENSE).forward
    assert forward.reason == "measured here: 2 ms; flat grid 5 ms"


def test_a_rule_that_is_the_fastest_stays(planted, offered):
    offered(planted.slow(WINOGRAD, 2, 2, 2), planted.slow(GRID, 3, 3, 3))
    assert chosen() == everywhere("Winograd")


def test_shared_work_counts_where_mlx_differentiates(planted, offered):
    """The passes of COLUMNS are the slowest, but its step is its forward alone."""
    columns = planted.slow(COLUMNS, 3, 9, 9)
    offered(planted.slow(GRID, 3, 3, 3), columns)
    assert chosen() == everywhere("columns")


def test_no_forward_is_given_up_for_a_faster_step(planted, offered):
    columns = planted.slow(COLUMNS, 4, 9, 9)
    offered(planted.slow(GRID, 3, 3, 3), columns)
    assert chosen() == everywhere("flat grid")


def test_what_raises_is_not_taken(planted, offered):
    def failing(*_: Any) -> mx.array:
        raise RuntimeError("no memory")

    broken = dataclasses.replace(GRID, forward=failing, input_gradient=failing)
    offered(broken, planted.slow(WINOGRAD, 2, 2, 2))
    names = chosen()
    assert names["forward"] == names["input gradient"] == "Winograd"
    with lucid.autotune():
        assert "flat grid cannot" in choice.choose(DENSE).forward.reason


def test_a_transposed_convolution_has_its_fastest_passes(planted, offered):
    offered(planted.slow(GRID, 5, 1, 9), planted.slow(WINOGRAD, 2, 9, 3))
    with lucid.autotune():
        picks = choice.choose(DENSE, transposed=True).passes
    assert picks["forward"].formulation.name == "Winograd"
    assert picks["input gradient"].formulation.name == "flat grid"


def test_a_file_is_believed_and_nothing_measured(planted, offered, cache, monkeypatch):
    offered(planted.slow(GRID, 5, 5, 5), planted.slow(WINOGRAD, 2, 9, 3))
    assert chosen() == {**everywhere("Winograd"), "input gradient": "flat grid"}
    (file,) = Path(cache).glob("*.json")
    content = json.loads(file.read_text())
    (times,) = content["times"].values()
    times["step"]["flat grid"] = 1.0
    file.write_text(json.dumps(content))
    monkeypatch.setattr(timing, "race", None)
    lucid.tuning.store.forget()
    assert chosen() == everywhere("flat grid")


def test_a_restored_state_decides(planted, offered):
    offered(planted.slow(GRID, 2, 2, 2), planted.slow(WINOGRAD, 3, 3, 3))
    assert chosen() == everywhere("flat grid")
    state = lucid.get_autotune_state()
    lucid.tuning.store.forget()
    offered(planted.slow(GRID, 9, 9, 9), planted.slow(WINOGRAD, 3, 3, 3))
    lucid.set_autotune_state(state)
    assert chosen() == everywhere("flat grid")


def test_a_restored_time_may_be_zero(planted, offered):
    offered(planted.slow(GRID, 2, 9, 9), planted.slow(WINOGRAD, 9, 2, 2))
    chosen()
    state = json.loads(bytes(np.array(lucid.get_autotune_state())))
    (times,) = state["times"].values()
    times["forward"]["flat grid"] = 0
    text = json.dumps(state).encode()
    lucid.set_autotune_state(mx.array(np.frombuffer(text, np.uint8)))
    assert set(chosen().values()) <= {"flat grid", "Winograd"}


def test_switched_off_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(timing, "race", None)
    x, w = lucid.randn(1, 4, 6, 6, 6), lucid.randn(4, 4, 3, 3, 3)
    F.conv3d(x, w)
    with lucid.autotune(), lucid.plain_operations():
        F.conv3d(x, w)
    with lucid.autotune():
        F.conv3d(x[:0], w)  # an empty batch has no time


CASES = {
    "dense": Problem((1, 16, 5, 6, 7), (16, 16, 3, 3, 3), padding=1),
    "padded otherwise": Problem(
        (1, 16, 5, 6, 7), (16, 16, 3, 3, 3), padding=1, padding_mode="circular"
    ),
    "strided": Problem((2, 3, 6, 7, 8), (5, 3, 3, 3, 3), stride=2, padding=1),
    "dilated": Problem((1, 4, 6, 7, 8), (4, 2, 3, 3, 3), dilation=2, groups=2),
    "patches": Problem((2, 4, 4, 6, 8), (5, 4, 2, 2, 2), stride=2),
}


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_the_oracles(name, brief):
    case = CASES[name]
    rng = np.random.default_rng(0)
    arrays = case.draw(rng)
    y = direct.conv3d(*arrays, **case.options)
    dy = uniform(rng, y.shape)
    exact = direct.conv3d_gradients(*arrays[:2], dy, **case.options)
    with lucid.autotune():
        (got,), gradients = mx.vjp(case.function, to_mlx(arrays), to_mlx([dy]))
    assert_close(got, y, "output")
    for gradient, want in zip(gradients, exact, strict=True):
        assert_close(gradient, want, "a gradient")


TRANSFORMATIONS = {
    "grad": mx.grad,
    "compile": lambda f: mx.compile(mx.grad(f)),
    "checkpoint": lambda f: mx.grad(mx.checkpoint(f)),
    "second grad": lambda f: mx.grad(lambda x: mx.grad(f)(x).square().sum()),
    "vmap": lambda f: lambda x: mx.vmap(mx.grad(f))(x[None])[0],
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_first_calls_inside_transformations_measure_too(name, brief, cache):
    mx.random.seed(5)
    x, w = lucid.randn(1, 4, 5, 6, 7), lucid.randn(4, 4, 3, 3, 3)
    function = TRANSFORMATIONS[name](lambda x: F.conv3d(x, w, padding=1).square().sum())
    want = function(x)
    before = lucid.get_rng_state()
    with lucid.autotune():
        got = (
            function(x)
            if name != "compile"
            else TRANSFORMATIONS[name](
                lambda x: F.conv3d(x, w, padding=1).square().sum()
            )(x)
        )
    assert_close(got, np.array(want), "gradient")
    assert mx.array_equal(lucid.get_rng_state(), before)
    assert len(list(cache.glob("*.json"))) == 1


def lazy_step(seed: int) -> tuple[mx.array, mx.array]:
    """The loss of a first step, and what was drawn after it."""
    lucid.manual_seed(seed)
    model = nn.Sequential(
        nn.LazyConv3d(4, 3), nn.Dropout(0.5), nn.LazyConvTranspose3d(2, 3, stride=2)
    )
    x = lucid.ones(1, 2, 5, 6, 7)
    loss, _ = nn.value_and_grad(model, lambda x: model(x).square().mean())(x)
    return loss, lucid.rand(3)


def test_a_lazy_models_first_step_draws_what_it_always_draws(brief):
    want, then = lazy_step(3)
    with lucid.autotune():
        got, after = lazy_step(3)
    assert_close(got, np.array(want), "loss")
    assert mx.array_equal(after, then)


def test_threads_measure_one_after_the_other(brief):
    case = CASES["strided"]
    arrays = case.draw(np.random.default_rng(0))

    def run(_: int) -> np.ndarray:
        with mx.stream(mx.new_stream(mx.cpu)):
            return np.array(case.function(*to_mlx(arrays)))

    with lucid.autotune(), ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(run, range(8)))
    want = direct.conv3d(*arrays, **case.options)
    for output in outputs:
        assert_close(mx.array(output), want, "output")


def test_half_types_are_computed_as_ever(brief):
    x, w = lucid.randn(1, 4, 5, 6, 7), lucid.randn(4, 4, 3, 3, 3)
    want = F.conv3d(x.astype(mx.float16), w.astype(mx.float16))
    with lucid.autotune():
        got = F.conv3d(x.astype(mx.float16), w.astype(mx.float16))
    assert got.dtype == mx.float16
    assert_close(got, np.array(want.astype(mx.float32)), "output")


def test_explain_measures_on_a_gpu(brief):
    layer = nn.Conv3d(4, 4, 3, padding=1, groups=4)
    x = lucid.randn(2, 4, 3, 4, 5)
    with emulated_metal(), lucid.autotune():
        text = lucid.metal.explain(layer, x.shape)
        y = layer(x)
    assert text.count("measured here: ") == 3
    assert "mx.conv3d by group" in text
    assert_close(y, np.array(layer(x)), "output")


def test_without_metal_kernels_a_gpu_has_no_choice(brief, monkeypatch):
    monkeypatch.setenv("LUCID_METAL", "0")
    layer = nn.Conv3d(4, 4, 3, padding=1)
    x = lucid.randn(1, 4, 3, 4, 5)
    want = np.array(layer(x))
    with emulated_metal(), lucid.autotune():
        assert_close(layer(x), want, "output")


@pytest.mark.slow
def test_explain_measures_the_passes_of_a_transposed_convolution(brief):
    layer = nn.ConvTranspose3d(4, 4, 3, stride=2, groups=4)
    x = lucid.randn(1, 4, 3, 4, 5)
    with emulated_metal(), lucid.autotune():
        text = lucid.metal.explain(layer, x.shape)
        measured = len(json.loads(bytes(np.array(lucid.get_autotune_state())))["times"])
        y = layer(x)
        after = len(json.loads(bytes(np.array(lucid.get_autotune_state())))["times"])
    assert text.count("measured here: ") == 3
    assert measured == after == 1
    assert_close(y, np.array(layer(x)), "output")
