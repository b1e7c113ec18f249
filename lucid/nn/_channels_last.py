"""MLX's layers that take the last axis for the channels, after layers of Lucid's."""

from __future__ import annotations

from collections.abc import Sequence
import itertools
from typing import Any
import warnings

from lucid.nn._module import Module
import mlx.nn

# What Lucid has instead. MLX's work on volumes whose channels are the second axis too,
# along the wrong axes, and say nothing.
_OURS = {
    mlx.nn.MaxPool3d: "MaxPool3d",
    mlx.nn.AvgPool3d: "AvgPool3d",
    mlx.nn.Upsample: "Upsample",
    mlx.nn.InstanceNorm: "InstanceNorm3d",
    mlx.nn.BatchNorm: "BatchNorm3d",
    mlx.nn.Dropout3d: "Dropout3d",
}


def warn_of_wrong_axes(layers: Sequence[Any]) -> None:
    """Warn of each such layer that is right after one of Lucid's."""
    for before, layer in itertools.pairwise(layers):
        ours = next((_OURS[kind] for kind in _OURS if isinstance(layer, kind)), None)
        if ours is not None and isinstance(before, Module):
            warnings.warn(
                f"mlx.nn.{type(layer).__name__} takes the last axis for the channels, "
                f"which after {type(before).__name__} are on axis 1: use "
                f"lucid.nn.{ours}.",
                stacklevel=6,  # where a Sequential is made
            )
