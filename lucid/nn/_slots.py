"""The places of members that are None: PyTorch's order of a state dict.

A parameter, buffer or module registered as None, or set to None, keeps its place among
the others until an array or module takes it. MLX's dict holds no None.
"""

from __future__ import annotations

import itertools
from typing import Any

import mlx.nn


def keep_place(module: mlx.nn.Module, name: str) -> None:
    """Remember which members stand before `name`, which is about to be None."""
    empty: dict[str, Any] = module.__dict__.setdefault("_empty_places", {})
    if name not in empty:
        present = itertools.takewhile(lambda key: key != name, dict.keys(module))
        waiting = [other for other, before in empty.items() if name not in before]
        empty[name] = (*present, *waiting)


def take_place(module: mlx.nn.Module, name: str) -> None:
    """Move `name`, the newest entry of a module's dict, to the place kept for it."""
    before = module.__dict__.get("_empty_places", {}).pop(name, None)
    if before is not None:
        for key in [k for k in dict.keys(module) if k != name and k not in before]:
            dict.__setitem__(module, key, dict.pop(module, key))
