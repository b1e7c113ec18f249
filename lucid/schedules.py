"""Learning rates that change while a model trains."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any

from lucid._types import finite, integer, one_of, positive, real, shown
import mlx.core as mx
from mlx.optimizers import MultiOptimizer, Optimizer


def polynomial_decay(
    init: float, decay_steps: int, end: float = 0.0, power: float = 0.9
) -> Callable[[mx.array], mx.array]:
    """A schedule from `init` to `end`: end + (init - end) * (1 - t)^power.

    t goes from 0 to 1 in `decay_steps` updates, and the rate stays at `end` after them.
    A power of 0.9 is nnU-Net's (Isensee et al., 2021), whose steps are epochs.

    Args:
        init: the first learning rate.
        decay_steps: updates until `end` is reached.
        end: the last learning rate.
        power: 1 is linear; below 1 the rate falls slowly at first.

    Returns:
        A schedule, to pass as an optimizer's `learning_rate`.

    Example:
        >>> import lucid
        >>> schedule = lucid.optim.polynomial_decay(1e-2, 1000)
        >>> optimizer = lucid.optim.SGD(schedule, momentum=0.99, nesterov=True)
        >>> optimizer.learning_rate
        array(0.01, dtype=float32)
    """
    init, end = finite("init", init), finite("end", end)
    decay_steps = positive("decay_steps", decay_steps)
    power = finite("power", power)
    if power <= 0:
        raise ValueError(f"`power` (={power}) must be positive.")

    def schedule(step: mx.array) -> mx.array:
        left = mx.maximum(0.0, 1 - step.astype(mx.float32) / decay_steps)
        return end + (init - end) * mx.power(left, power)

    return schedule


class ReduceLROnPlateau:
    """Lowers an optimizer's learning rate when a metric has stopped improving.

    As in PyTorch. Call `step` once an epoch, for example with the validation loss. In a
    `MultiOptimizer`, the learning rates of all optimizers are lowered.

    Args:
        optimizer: its learning rate must be a number, not a schedule.
        mode: 'min' if smaller is better, 'max' if larger.
        factor: multiplies the learning rate.
        patience: how many steps without improvement are ignored.
        threshold: by how much the metric has to improve.
        threshold_mode: whether `threshold` is relative to the best metric ('rel') or a
            difference ('abs').
        cooldown: how many steps after a reduction are ignored.
        min_lr: the lowest learning rate.
        eps: smaller reductions are not made.

    Example:
        >>> import lucid
        >>> optimizer = lucid.optim.Adam(1e-3)
        >>> scheduler = lucid.optim.ReduceLROnPlateau(optimizer, patience=1)
        >>> for loss in (1.0, 0.5, 0.5, 0.6):
        ...     scheduler.step(loss)
        >>> optimizer.learning_rate
        array(0.0001, dtype=float32)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0,
        eps: float = 1e-8,
    ):
        if not isinstance(optimizer, Optimizer):
            kind = type(optimizer).__name__
            raise TypeError(f"`optimizer` must be an optimizer, got {kind}.")
        if any("learning_rate" in each._schedulers for each in _each(optimizer)):
            raise ValueError(
                "`optimizer` has a schedule of its learning rate: it needs a number."
            )
        if finite("factor", factor) >= 1:
            raise ValueError(f"`factor` (={factor}) must be less than 1.")
        self.optimizer = optimizer
        self.mode = one_of("mode", mode, ("min", "max"))
        self.factor = factor
        self.patience = integer("patience", patience)
        self.threshold = finite("threshold", threshold)
        self.threshold_mode = one_of("threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = integer("cooldown", cooldown)
        self.min_lr = finite("min_lr", min_lr)
        self.eps = finite("eps", eps)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0

    def step(self, metrics: Any) -> None:
        """Take the metric of an epoch, and lower the learning rate if it is due."""
        current = real("metrics", metrics)
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for optimizer in _each(self.optimizer):
                self._reduce(optimizer)
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    def _is_better(self, current: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "abs":
            bound = self.best + sign * self.threshold
        else:
            bound = self.best * (1 + sign * self.threshold)
        return sign * current > sign * bound

    def _reduce(self, optimizer: Optimizer) -> None:
        old = real("learning_rate", optimizer.learning_rate)
        new = max(old * self.factor, self.min_lr)
        if old - new > self.eps:
            optimizer.learning_rate = new

    def state_dict(self) -> dict[str, float]:
        """The scheduler's state; the learning rate is in the optimizer's state."""
        return {name: getattr(self, name) for name in _REMEMBERED}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        missing = [name for name in _REMEMBERED if name not in state_dict]
        if missing:
            raise ValueError(f"`state_dict` (={shown(state_dict)}) lacks {missing}.")
        best = real("best", state_dict["best"])
        counts = [integer(name, state_dict[name]) for name in _REMEMBERED[1:]]
        self.best = best
        self.num_bad_epochs, self.cooldown_counter = counts


_REMEMBERED = ("best", "num_bad_epochs", "cooldown_counter")


def _each(optimizer: Optimizer) -> list[Optimizer]:
    """The optimizers of parameters that an optimizer is made of."""
    if isinstance(optimizer, MultiOptimizer):
        return [one for part in optimizer.optimizers for one in _each(part)]
    return [optimizer]
