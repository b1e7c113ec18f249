"""Functions with derivatives of our own run them where the function ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lucid.ops.derivative import with_derivatives
import mlx.core as mx
import pytest


@pytest.fixture
def stream() -> mx.Stream:
    """A second one of the default device."""
    stream = mx.new_stream(mx.default_device())
    assert stream != here()
    return stream


def here() -> mx.Stream:
    """Where an operation made now would run."""
    return mx.default_stream(mx.default_device())


def doubling(seen: list[mx.Stream]) -> Callable[[mx.array], mx.array]:
    """x -> 2 x, whose derivative notes its stream, and is differentiable again."""

    def vjp(_: mx.array, cotangent: mx.array) -> mx.array:
        seen.append(here())
        return doubling(seen)(cotangent)

    return with_derivatives(lambda x: 2 * x, vjp)


def on(stream: mx.Stream, function: Callable[[], Callable]) -> Callable[..., mx.array]:
    """The sum of squares of what `function()` makes of x, both on `stream`."""

    def loss(x: mx.array) -> mx.array:
        with mx.stream(stream):
            y = function()(x)
        return mx.square(y).sum()

    return loss


def test_the_derivative_runs_on_the_stream_of_the_function(stream):
    seen: list[mx.Stream] = []
    gradient = mx.grad(on(stream, lambda: doubling(seen)))(mx.ones(3))
    assert seen == [stream]
    assert gradient.tolist() == [8, 8, 8]


def test_without_with_derivatives_it_would_run_on_the_default_stream(stream):
    seen: list[mx.Stream] = []

    def mlxs_own() -> Any:
        custom: Any = mx.custom_function(lambda x: 2 * x)
        custom.vjp(lambda x, cotangent, _: seen.append(here()) or 2 * cotangent)
        return custom

    mx.grad(on(stream, mlxs_own))(mx.ones(3))
    assert seen == [here()]


def test_the_second_derivative_runs_there_too(stream):
    seen: list[mx.Stream] = []
    gradient = mx.grad(on(stream, lambda: doubling(seen)))
    second = mx.grad(lambda x: gradient(x).sum())(mx.ones(3))
    assert seen == [stream] * 3  # once for the first; both are in the second
    assert second.tolist() == [8, 8, 8]


def test_the_default_stream_is_put_back(stream):
    before = here()
    mx.eval(mx.grad(on(stream, lambda: doubling([])))(mx.ones(3)))
    assert here() == before


def test_the_default_stream_is_put_back_after_an_error(stream):
    def vjp(_: mx.array, cotangent: mx.array) -> mx.array:
        raise RuntimeError("in the derivative")

    before = here()
    with pytest.raises(RuntimeError, match="in the derivative"):
        mx.grad(on(stream, lambda: with_derivatives(lambda x: 2 * x, vjp)))(mx.ones(3))
    assert here() == before


def test_the_derivative_stays_on_its_stream_within_another(stream):
    """Differentiated within a third stream, as `nn.value_and_grad` may be."""
    seen: list[mx.Stream] = []
    third = mx.new_stream(mx.default_device())
    with mx.stream(third):
        mx.eval(mx.grad(on(stream, lambda: doubling(seen)))(mx.ones(3)))
    assert seen == [stream]


def test_several_arguments_arrive_as_a_sequence_and_one_as_itself():
    seen: list[Any] = []

    def vjp(arguments: Any, cotangent: mx.array) -> Any:
        seen.append(arguments)
        return cotangent, 3 * cotangent

    product = with_derivatives(lambda a, b: a * b, vjp)
    a, b = mx.array(2.0), mx.array(5.0)
    gradients = mx.grad(product, argnums=(0, 1))(a, b)
    assert [g.item() for g in gradients] == [1, 3]
    (arguments,) = seen
    assert [array.item() for array in arguments] == [2, 5]

    one = with_derivatives(
        lambda a: a, lambda a, cotangent: seen.append(a) or cotangent
    )
    mx.grad(one)(a)
    assert isinstance(seen[-1], mx.array)


def test_the_vjp_is_the_derivative_whatever_the_function():
    wrong = with_derivatives(lambda x: x * x, lambda x, cotangent: 7 * cotangent)
    value, gradient = mx.value_and_grad(wrong)(mx.array(3.0))
    assert (value.item(), gradient.item()) == (9, 7)
    compiled = mx.compile(mx.grad(wrong))
    assert compiled(mx.array(3.0)).item() == 7
