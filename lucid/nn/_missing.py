"""What to say of a layer that there is not."""

from __future__ import annotations

from collections.abc import Iterable
import difflib

import mlx.core as mx
import mlx.nn


def missing_layer(name: str, names: Iterable[str]) -> str:
    """The message for an attribute that `lucid.nn` lacks: what comes near it.

    Args:
        name: of the attribute.
        names: what `lucid.nn` has.
    """
    message = f"module 'lucid.nn' has no attribute {name!r}."
    if name.startswith("_"):
        return message
    if name == "utils":
        return f"{message} lucid.optim.clip_grad_norm clips gradients."
    by_case = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), by_case, n=1, cutoff=0.75)
    if near:
        message += f" Did you mean {by_case[near[0]]!r}?"
    theirs = getattr(mlx.nn, name, None)
    if isinstance(theirs, type) and issubclass(theirs, mlx.nn.Module):
        message += f" mlx.nn.{name} works inside Lucid's modules"
        is_activation = theirs.__module__.endswith("activations")
        elementwise = (is_activation and name != "GLU") or name == "Dropout"
        message += "." if elementwise else "; its channels are the last axis."
    return message


def missing_function(name: str, names: Iterable[str]) -> str:
    """The message for an attribute that `lucid.nn.functional` lacks."""
    message = f"module 'lucid.nn.functional' has no attribute {name!r}."
    if name.startswith("_"):
        return message
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    if near:
        message += f" Did you mean {near[0]!r}?"
    for place in (mlx.nn, mlx.nn.losses, mx.fast):
        for theirs in sorted(set(dir(place)).difference(names)):
            if _plain(theirs) == _plain(name) and callable(getattr(place, theirs)):
                message += f" There is {place.__name__}.{theirs}; MLX's channels are "
                return f"{message}the last axis."
    return message


def _plain(name: str) -> str:
    """hard_tanh -> hardtanh, kl_div_loss -> kldiv."""
    return name.replace("_", "").removesuffix("loss")
