"""Sizes that are read at the call, and the arithmetic on them."""

from __future__ import annotations

import math
import operator
from typing import Any

_OPERATORS = (
    *("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg", "pos"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_"),
)

SYMBOLS: dict[str, Any] = {
    **{f"_operator.{name}": getattr(operator, name) for name in _OPERATORS},
    "aten.sym_size.int": lambda self, dim: self.shape[dim],
    "aten.sym_numel.default": lambda self: self.size,
    "sym_float": float,
    "sym_int": int,
    "sym_not": operator.not_,
    "sym_max": max,
    "sym_min": min,
    "math.trunc": math.trunc,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "_operator.getitem": operator.getitem,
}
"""By position or by name, on numbers."""
