"""What `run_decompositions` makes of layers: they return what their gradient needs too.

Those further outputs (a mean, the places of maxima) are None here. MLX differentiates
without them.
"""

from __future__ import annotations

from typing import Any

from lucid.program.operations.layers import LAYERS
import mlx.core as mx


def _with_nothing(count: int, target: str) -> Any:
    """An operation that returns `count` more outputs than the one of this target."""
    function = LAYERS[target]
    return lambda *args, **kwargs: (function(*args, **kwargs), *[None] * count)


def _batch_norm(**arguments: Any) -> tuple[mx.array | None, ...]:
    y = LAYERS["aten.batch_norm.default"](training=False, **arguments)
    return y, None, None


def _group_norm(group: int, **arguments: Any) -> tuple[mx.array | None, ...]:
    sizes = ("N", "C", "HxW")  # the input has them
    given = {k: v for k, v in arguments.items() if k not in sizes}
    y = LAYERS["aten.group_norm.default"](num_groups=group, **given)
    return y, None, None


DECOMPOSED: dict[str, Any] = {
    "aten._native_batch_norm_legit_no_training.default": _batch_norm,
    "aten.native_group_norm.default": _group_norm,
    "aten.native_layer_norm.default": _with_nothing(2, "aten.layer_norm.default"),
    "aten.max_pool3d_with_indices.default": _with_nothing(1, "aten.max_pool3d.default"),
    "aten._adaptive_avg_pool3d.default": LAYERS["aten.adaptive_avg_pool3d.default"],
}
