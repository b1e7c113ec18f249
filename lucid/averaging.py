"""A model whose weights are an average over training."""

from __future__ import annotations

import copy
from typing import Any

from lucid._types import real
import mlx.core as mx
import mlx.nn


class ExponentialMovingAverage:
    """A moving average of a model's parameters.

    After each update, average = decay * average + (1 - decay) * parameter; the first
    update copies the parameters. Buffers are always the model's. It is PyTorch's
    `AveragedModel` with `get_ema_multi_avg_fn(decay)`. Keep the model in float32: in a
    half type small steps are rounded away.

    Args:
        model: of Lucid's modules; it may still be lazy.
        decay: the weight of the old average, in [0, 1].

    Attributes:
        module: the averaged model, in evaluation mode; save its `state_dict()`.
        n_averaged: the number of updates.

    Example:
        >>> import lucid, lucid.nn as nn, mlx.core as mx
        >>> model = nn.Conv3d(1, 2, 3)
        >>> average = lucid.optim.ExponentialMovingAverage(model, decay=0.9)
        >>> for _ in range(3):
        ...     # a training step on the model, and then:
        ...     average.update_parameters(model)
        >>> mx.allclose(average.module.weight, model.weight).item()
        True
    """

    def __init__(self, model: mlx.nn.Module, decay: float = 0.999):
        if not isinstance(model, mlx.nn.Module):
            raise TypeError(f"`model` must be a module, got {type(model).__name__}.")
        if not 0 <= real("decay", decay) <= 1:
            raise ValueError(f"`decay` (={decay}) must be in [0, 1].")
        self.decay = decay
        self.n_averaged = 0
        self.module: Any = copy.deepcopy(model).eval()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model gives."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Any) -> None:
        """Update the average with the model's parameters, and evaluate it.

        Call it outside of compiled functions, after each of the optimizer's updates.
        """
        new = model.state_dict()
        if self.n_averaged:
            old = self.module.state_dict()
            parameters = {id(array) for _, array in model.named_parameters()}
        else:
            old, parameters = {}, set()
        for name, array in new.items():
            if id(array) in parameters:
                new[name] = old[name] + (array - old[name]) * (1 - self.decay)
            else:
                new[name] = mx.array(array)  # a layer may write into its own
        self.module.load_state_dict(new)
        mx.eval(new)
        self.n_averaged += 1
