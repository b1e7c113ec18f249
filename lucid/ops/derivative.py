"""Functions with derivatives of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx


def with_derivatives(
    function: Callable[..., mx.array],
    vjp: Callable[..., Any],
    jvp: Callable[[Any, Any], mx.array] | None = None,
    of_output: bool = False,
) -> Callable[..., mx.array]:
    """`function` with `vjp(arguments, cotangent)` and `jvp(arguments, tangents)`.

    With `of_output` it is `vjp(arguments, cotangent, output)`.

    Derivatives run where the function does: MLX would take the stream that is the
    default when they are asked for. `arguments` and `tangents` are sequences, or the
    array itself if it is the only one; an argument that is constant has None.
    """
    stream = mx.default_stream(mx.default_device())
    custom: Any = mx.custom_function(function)

    @custom.vjp
    def on_stream(arguments: Any, cotangent: mx.array, output: Any) -> Any:
        with mx.stream(stream):
            if of_output:
                return vjp(arguments, cotangent, output)
            return vjp(arguments, cotangent)

    if jvp is not None:

        @custom.jvp
        def tangent_on_stream(arguments: Any, tangents: Any) -> mx.array:
            with mx.stream(stream):
                return jvp(arguments, tangents)

    return custom


def with_vjp_of_outputs(
    function: Callable[..., tuple[mx.array, ...]],
    vjp: Callable[[Any, Any, Any], Any],
) -> Callable[..., tuple[mx.array, ...]]:
    """`function`, of several outputs, with `vjp(arguments, cotangents, outputs)`.

    What the gradient takes from the outputs is not computed twice. Second gradients
    reach it as cotangents of these outputs: `vjp` has to heed every one of them.
    """
    stream = mx.default_stream(mx.default_device())
    custom: Any = mx.custom_function(function)

    @custom.vjp
    def on_stream(arguments: Any, cotangents: Any, outputs: Any) -> Any:
        with mx.stream(stream):
            return vjp(arguments, cotangents, outputs)

    return custom
