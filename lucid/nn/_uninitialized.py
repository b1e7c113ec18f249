"""Parameters that do not exist yet, and the guard against training without them."""

from __future__ import annotations

from typing import Any

from lucid.nn._first_call import in_gradient, in_trial
from lucid.nn._members import named_tree
import mlx.nn


class UninitializedParameterError(RuntimeError):
    """A lazy layer was asked for weights that it has not created yet."""

    def __init__(self, what: str, layers: list[str]):
        super().__init__(
            f"{what} needs weights that lazy layers have not created yet: "
            f"{', '.join(layers)}. Call the model once, lucid.nn.materialize(model, "
            "input_shape), or load a state dict first (lucid.nn.value_and_grad does so "
            "by itself)."
        )


class FrozenNames(set[str]):
    """The names MLX does not train in one module (its `_no_grad`).

    Buffers stay frozen whatever is unfrozen, and asking whether a parameter that is yet
    to be created is trained raises: MLX asks it from every `trainable_parameters()`, an
    outer module's too, and would otherwise leave the parameter out without a word.
    """

    def __init__(self, names: Any = ()):
        super().__init__(names)
        self.buffers: frozenset[str] = frozenset()
        self.uninitialized: frozenset[str] = frozenset()
        self.layer = ""

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        if name not in self.uninitialized or in_trial():
            return False
        if in_gradient():
            return True  # what a step does not reach, it does not train
        raise UninitializedParameterError("training", [self.layer])

    def clear(self) -> None:
        super().clear()
        self.update(self.buffers)

    def difference_update(self, *others: Any) -> None:
        super().difference_update(*others)
        self.update(self.buffers)

    def add_buffer(self, name: str) -> None:
        self.buffers |= {name}
        self.add(name)

    def discard_buffer(self, name: str) -> None:
        self.buffers -= {name}
        self.discard(name)

    def initialized(self) -> FrozenNames:
        """The same names, once every parameter exists."""
        names = FrozenNames(self)
        names.buffers = self.buffers
        return names


def uninitialized_names(module: mlx.nn.Module) -> frozenset[str]:
    """The parameters that a lazy layer has yet to create; of any other layer, none."""
    no_grad = module.__dict__.get("_no_grad")
    return getattr(no_grad, "uninitialized", frozenset())


def uninitialized_layers(model: mlx.nn.Module, trained_only: bool) -> list[str]:
    """The names of the layers that have arrays, or unfrozen ones, yet to create."""
    layers = []
    for name, module in named_tree(model):
        names = set(uninitialized_names(module))
        if trained_only:
            names -= set(module._no_grad)
        if names:
            layers.append(name or type(module).__name__)
    return layers


def check_initialized(model: mlx.nn.Module, what: str, trained_only: bool) -> None:
    """Refuse a model whose weights do not all exist yet, naming the layers."""
    if trained_only and (in_trial() or in_gradient()):
        return  # mlx.nn.utils.checkpoint asks there, before the weights exist
    layers = uninitialized_layers(model, trained_only)
    if layers:
        raise UninitializedParameterError(what, layers)
