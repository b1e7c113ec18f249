"""A kernel that is wrong on a GPU gives way to MLX's operations, with a warning."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
import dataclasses
import functools
from importlib import resources
import itertools
import threading
import warnings

import lucid
from lucid import nn
from lucid.metal import conv, guard, launch, padding
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.failing import fail_later
from tests.metal import test_conv, test_padding
from tests.metal_emulator import emulated_metal, emulation
from tests.ops.test_formulations import geometry_of
from tests.oracle import MODES, random_problem

# What may be wrong with a kernel, planted in the forward convolution.
FAULTS = {
    "it does not compile": ("typename outputs::type sum[TW];", "no_such_type sum[TW];"),
    "wrong numbers": ("of(v[s], j) * weight", "of(v[s], j) * -weight"),
    "NaN": ("outputs::load(b + o) :", "outputs::load(b + o) / 0.0f * 0.0f :"),
    "elements left out": ("if (ow + t < OW)", "if (ow + t < OW - 1)"),
}
X = (2, 8, 4, 5, 6)
slow = [pytest.mark.slow]


@pytest.fixture
def plant(monkeypatch) -> Iterator:
    """A function that puts a fault into kernels' sources."""
    sound = launch.source.__wrapped__

    def planted(replaced: dict[str, tuple[str, str]]) -> None:
        def source(name: str) -> str:
            text = sound(name)
            right, wrong = replaced.get(name, ("", ""))
            assert right in text
            return text.replace(right, wrong) if right else text

        monkeypatch.setattr(launch, "source", source)
        monkeypatch.setattr(emulation, "verdicts", {})
        launch.compiled.cache_clear()

    yield planted
    launch.compiled.cache_clear()


@pytest.fixture
def layer() -> nn.Conv3d:
    lucid.manual_seed(0)
    return nn.Conv3d(8, 8, 3, padding=1, groups=2, padding_mode="reflect")


def volume() -> mx.array:
    return mx.random.normal(X, key=mx.random.key(1))


def loss(layer: nn.Module, x: mx.array) -> mx.array:
    return (layer(x) ** 2).sum()


@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=slow * (i > 1)) for i, name in enumerate(FAULTS)],
)
def test_a_wrong_kernel_gives_way_to_its_twin(plant, layer, fault):
    expected = layer(volume())
    plant({"conv_forward": FAULTS[fault]})
    with emulated_metal() as emulated:
        with pytest.warns(lucid.MetalKernelWarning, match="conv_forward") as seen:
            y = layer(volume())
        again = layer(volume() + 1)  # and says so once
    assert len(seen) == 1
    assert emulated.names == []
    assert mx.allclose(y, expected, rtol=1e-5, atol=1e-5)
    assert mx.allclose(again, layer(volume() + 1), rtol=1e-5, atol=1e-5)


def test_the_warning_can_be_pasted_into_a_report(plant, layer):
    plant({"conv_forward": FAULTS["it does not compile"]})
    with emulated_metal(), pytest.warns(lucid.MetalKernelWarning) as seen:
        layer(volume())
    text = str(seen[0].message)
    for part in ("conv_forward<T=float32, MODE=1", "no_such_type", "MLX 0.", "Lucid"):
        assert part in text


def test_explain_says_what_failed(plant, layer):
    words = "its kernel failed its check on this GPU"
    plant({"conv_forward": FAULTS["wrong numbers"]})
    with emulated_metal():
        before = lucid.metal.explain(layer, X)
        with pytest.warns(lucid.MetalKernelWarning):
            layer(volume())
        after = lucid.metal.explain(layer, X)
    assert words not in before  # nobody knows yet
    forward, gradients = after.split("input gradient: Lucid's Metal kernels")
    assert words in forward
    assert "of the largest value" in forward
    assert words not in gradients


def test_explain_says_that_padding_failed(plant):
    dense = nn.Conv3d(128, 128, 3, padding=1, padding_mode="circular")
    shape = (1, 128, 8, 8, 8)
    plant({"pad": ("to[i] = from[i];", "to[i] = from[i] + 1;")})
    with emulated_metal():
        before = lucid.metal.explain(dense, shape)
        with pytest.warns(lucid.MetalKernelWarning):
            F.pad(volume(), (1,) * 6, mode="circular")
        after = lucid.metal.explain(dense, shape)
    assert "padded by a Metal kernel" in before
    assert "padded: its kernel failed its check on this GPU" in after


def test_gradients_of_every_order_survive(plant, layer):
    x = volume()

    def slope(x: mx.array) -> mx.array:
        return (mx.grad(lambda x: loss(layer, x))(x) ** 2).sum()

    expected = mx.grad(slope)(x)
    plant(
        {
            "conv_forward": FAULTS["wrong numbers"],
            "conv_input_gradient": ("i >= 0 && i < W", "i > 0 && i < W"),
            "conv_weight_gradient": ("row < stop; row++", "row < stop - 1; row++"),
        }
    )
    with emulated_metal() as emulated, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        got = mx.grad(slope)(x)
    assert {w.category for w in seen} == {lucid.MetalKernelWarning}
    # A second gradient takes all three, and the forward without its bias, too.
    assert len(seen) == 4
    assert emulated.names == []
    assert mx.allclose(got, expected, rtol=1e-3, atol=1e-3 * abs(expected).max().item())


@pytest.mark.parametrize(
    "fault",
    [None, "it does not compile", pytest.param("wrong numbers", marks=slow)],
)
def test_a_kernel_is_checked_while_mlx_compiles(plant, layer, fault):
    x = volume()
    expected = mx.grad(loss, argnums=1)(layer, x)
    plant({} if fault is None else {"conv_forward": FAULTS[fault]})
    step = mx.compile(lambda x: mx.grad(loss, argnums=1)(layer, x))
    with emulated_metal() as emulated, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        got = step(x)
        mx.eval(got)
    assert [w.category for w in seen] == [lucid.MetalKernelWarning] * (
        fault is not None
    )
    # In the emulator a kernel that passed runs as its twin inside a trace.
    assert ("forward_kernel" in emulated.twins) == (fault is None)
    assert mx.allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_a_lazy_layer_survives_its_first_call(plant):
    def first_call() -> tuple[mx.array, mx.array, mx.array]:
        lucid.manual_seed(0)
        lazy = nn.LazyConv3d(8, 3, padding=1, groups=2)
        y = lazy(volume())
        return y, lazy.weight, mx.random.state[0]

    expected = first_call()
    plant({"conv_forward": FAULTS["wrong numbers"]})
    with emulated_metal(), pytest.warns(lucid.MetalKernelWarning):
        got = first_call()
    for a, b in zip(got, expected, strict=True):
        assert mx.allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_warning_as_an_error_leaves_everything_usable(plant, layer):
    plant({"conv_forward": FAULTS["wrong numbers"]})
    with emulated_metal():
        with pytest.raises(lucid.MetalKernelWarning):
            layer(volume())
        y = layer(volume())
    assert mx.allclose(y, layer(volume()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("switch", "expected"), [("check", "twin"), ("trust", "kernel"), ("0", "neither")]
)
def test_a_switch_checks_trusts_or_turns_off(
    plant, layer, monkeypatch, switch, expected
):
    monkeypatch.setenv("LUCID_METAL", switch)
    plant({"conv_forward": FAULTS["wrong numbers"]})
    with emulated_metal() as emulated, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        y = layer(volume())
    assert len(seen) == (expected == "twin")
    assert emulated.names == ["conv_forward"] * (expected == "kernel")
    right = mx.allclose(y, layer(volume()), rtol=1e-5, atol=1e-5).item()
    assert right == (expected != "kernel")


def test_a_kernel_is_checked_once_for_all_shapes_of_one_source():
    with emulated_metal() as emulated:
        for size in (5, 6, 9):
            x = mx.ones((1, size, size, size, 12), mx.bfloat16)
            padding.pad_kernel(x, ((2, 1), (0, 1), (1, 1)), "circular")
    assert len(emulated.names) == 3
    assert len(emulated.checks) <= 2  # none if another test made them before


def test_a_bug_that_the_first_call_does_not_meet_is_found(plant):
    """The source is checked, whatever it is first called with."""
    plant({"pad": ("od - before[0]", "od - before[1]")})
    with emulated_metal(), pytest.warns(lucid.MetalKernelWarning):
        padding.pad_kernel(mx.ones((1, 4, 4, 4, 4)), ((1, 1),) * 3, "reflect")


@pytest.mark.parametrize("problems", [lambda *_: 1 / 0, lambda *_: []])
def test_what_cannot_be_checked_is_not_used(plant, monkeypatch, problems):
    plant({})
    monkeypatch.setattr(padding.pad_kernel, "smaller", problems)
    x, sides = volume().transpose(0, 2, 3, 4, 1), ((1, 1),) * 3
    with emulated_metal() as emulated, pytest.warns(lucid.MetalKernelWarning):
        y = padding.pad_kernel(x, sides, "reflect")
    assert emulated.names == []
    assert (y == padding.pad_ops(x, sides, "reflect")).all()


def test_an_error_of_earlier_work_is_not_taken_for_a_kernels(plant):
    plant({})
    x, sides = volume().transpose(0, 2, 3, 4, 1), ((1, 1),) * 3
    with emulated_metal() as emulated:
        fail_later()
        with pytest.raises(RuntimeError, match="Inverse"):
            padding.pad_kernel(x, sides, "reflect")
        padding.pad_kernel(x, sides, "reflect")
    assert emulated.names == ["pad"]


def test_threads_make_one_check(plant, monkeypatch):
    plant({"pad": ("to[i] = from[i];", "to[i] = from[i]; ;")})  # a source not seen yet
    x, results = mx.ones((1, 4, 4, 4, 4)), []
    mx.eval(x)

    def work() -> None:
        mx.set_default_stream(mx.new_stream(mx.cpu))
        y = padding.pad_kernel(x, ((1, 1),) * 3, "reflect")
        results.append(np.array(y).sum())

    with emulated_metal() as emulated:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [6**3 * 4] * 4
    assert len(emulated.checks) == 2  # one check, of two small problems


def test_a_large_problem_is_checked_by_a_small_one():
    """Nothing is evaluated here, so that arrays may have any size."""
    g = geometry_of(test_conv.case_of("4 and 4", "circular", test_conv.SPATIAL[0]))
    g = dataclasses.replace(g, batch=8, input_size=(700, 700, 700))
    x = mx.zeros((8, *g.input_size, g.in_channels))
    w, b = mx.zeros(g.weight_shape), mx.zeros(g.out_channels)
    with emulated_metal() as emulated:
        assert conv.forward_kernel.is_right((x, w, b, g))
    assert all(a.size < 10**5 for check in emulated.checks for a in check.inputs)


def test_every_random_problem_has_a_small_one_of_its_source():
    rng = np.random.default_rng(3)
    for _ in range(200):
        case = random_problem(rng)
        if len(case.input_shape) != 5:
            continue
        g = geometry_of(case)
        x, w, *b = (mx.array(a.astype(np.float32)) for a in case.draw(rng))
        x = x.transpose(0, 2, 3, 4, 1)
        dy = mx.zeros((g.batch, *g.output_size, g.out_channels))
        bias = b[0] if b else None
        for function, arguments in (
            (conv.forward_kernel, (x, w, bias, g)),
            (conv.input_gradient_kernel, (dy, w, g)),
            (conv.weight_gradient_kernel, (x, dy, g)),
        ):
            launched = function.launches(arguments)
            assert launched in map(function.launches, function.smaller(*arguments))


def test_a_call_is_known_by_its_arguments_the_second_time():
    """Otherwise each would be looked into again, and remembered beside the first."""
    x = mx.ones(X)
    calls = [
        lambda: F.avg_pool3d(x, 2),
        lambda: F.adaptive_avg_pool3d(x, 3),
        lambda: F.max_pool3d(x, 2),
        lambda: F.interpolate(x, scale_factor=2, mode="trilinear"),
        lambda: F.interpolate(x, size=(5, 5, 5), mode="area"),
        lambda: F.instance_norm(x),
        lambda: F.pad(x, (1, 1, 1, 1, 1, 1), mode="reflect"),
        lambda: F.conv3d(x, mx.ones((8, 1, 3, 3, 3)), groups=8),
    ]
    with emulated_metal() as emulated:
        for call in calls:
            call()
            known = len(guard.calls)
            call()
            assert len(guard.calls) == known > 0
    assert len(emulated.names) >= 2 * len(calls)


def test_nothing_launches_kernels_past_the_guard():
    """But what measures the GPU, and the kernel is of no layer."""
    unguarded = set()
    for file in (resources.files("lucid") / "metal").iterdir():
        if file.name.endswith(".py"):
            unguarded |= _unguarded(ast.parse(file.read_text()))
    assert unguarded - {"multiply_add_kernel"} == set()


def _unguarded(module: ast.Module) -> set[str]:
    """Functions that launch, themselves or by a private one, and are not decorated."""
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    launching, guarded = {"launch.launch"}, set()
    for _ in functions:  # as deep as private functions call each other
        for function in functions:
            calls = {ast.unparse(c.func) for c in ast.walk(function) if _is_call(c)}
            if any("guarded" in ast.unparse(d) for d in function.decorator_list):
                guarded.add(function.name)
            elif calls & launching:
                launching.add(function.name)
    callers = launching - {"launch.launch"}
    private = {name for name in callers if name.startswith("_")}
    return callers - private - guarded


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call)


def check_convolutions() -> Iterator[Callable[[], object]]:
    for tile, mode, spatial in itertools.product(
        ("depthwise", "4 and 4"), MODES, [test_conv.SPATIAL[i] for i in (1, 6, 8, 5, 7)]
    ):
        case = test_conv.case_of(tile, mode, spatial)
        rng = np.random.default_rng(0)
        yield functools.partial(test_conv.check_kernels, case, mx.float32, rng)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lucid.MetalKernelWarning")
@pytest.mark.parametrize(("file", "right", "wrong"), test_conv.MUTANTS)
def test_where_a_planted_bug_shows_the_guard_gives_right_numbers(
    plant, monkeypatch, file, right, wrong
):
    plant({file: (right, wrong)})
    for check in check_convolutions():
        monkeypatch.setenv("LUCID_METAL", "trust")
        try:
            check()
        except (AssertionError, RuntimeError):
            monkeypatch.setenv("LUCID_METAL", "check")
            check()
            return
    pytest.fail("the bug shows nowhere")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lucid.MetalKernelWarning")
@pytest.mark.parametrize(("file", "right", "wrong"), test_padding.MUTANTS)
def test_with_any_planted_bug_padding_is_right(plant, file, right, wrong):
    plant({file: (right, wrong)})
    test_padding.check_the_cases_of_planted_bugs()
