"""What can be told about an array in a trace of mx.compile or mx.grad."""

from __future__ import annotations

import io
import secrets

from lucid._types import Tensor
from lucid.creation import set_rng_state
import mlx.core as mx


def is_placeholder(array: Tensor) -> bool:
    """Whether an array stands for an input of a function that mx.compile is tracing.

    Or did so in a trace that has ended: such an array has no value and never will. (One
    that another thread left unevaluated has one, though it cannot be had here.)
    """
    try:
        mx.eval(array)
    except ValueError:
        return True
    except RuntimeError as error:
        return _is_of_ended_trace(error)
    return False


def is_differentiated(array: Tensor) -> bool:
    """Whether a gradient with respect to this array is being taken.

    MLX keeps the history of what is made of it then, even of evaluated arrays.
    """
    made = array[None]
    try:
        mx.eval(made)
    except ValueError:
        made = array  # a placeholder of mx.compile, which has no history of its own
    except RuntimeError as error:
        _is_of_ended_trace(error)
        return False
    history = io.StringIO()
    mx.export_to_dot(history, made)
    return "label" in history.getvalue()


def _is_of_ended_trace(error: RuntimeError) -> bool:
    """Whether an evaluation failed for that; not, if another thread has the array.

    Any other error is the caller's, perhaps of earlier work, which MLX raises once,
    wherever something is waited for next.
    """
    if "without a primitive" in str(error):
        return True
    if "There is no Stream" in str(error):
        return False
    raise error


def restore_rng_state(key: Tensor) -> None:
    """Set the random state after an error; reseed if that leaves an mx.compile.

    Of a trace that captured the random state, MLX would leave a placeholder there, at
    which every later draw fails.
    """
    set_rng_state(key)
    if is_placeholder(key):
        mx.random.seed(secrets.randbits(64))
