"""What is wrong with a state dict, told so that it can be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = 10  # of each kind


class StateDictError(RuntimeError, ValueError):
    """A state dict does not fit a model; a RuntimeError, as in PyTorch.

    The message shows the first ten mismatches of each kind.

    Attributes:
        problems: every mismatch.
    """

    def __init__(
        self,
        model: Any,
        mismatches: list[str],
        missing: list[str],
        unexpected: list[str],
        state_dict: Mapping[str, Any],
    ):
        kinds = (
            ("mismatched", mismatches),
            ("missing", [f"{name}: missing" for name in missing]),
            ("unexpected", [f"{name}: unexpected" for name in unexpected]),
        )
        self.problems = [problem for _, problems in kinds for problem in problems]
        lines = [line for kind, problems in kinds for line in _first(kind, problems)]
        hints = [
            *_prefix_hint(missing, unexpected),
            *_nesting_hint(state_dict),
            *_dtype_hint(mismatches),
        ]
        super().__init__(
            f"the state dict does not fit {type(model).__name__}; nothing was "
            "loaded:" + "".join(f"\n  {line}" for line in [*lines, *hints])
        )


def _first(kind: str, problems: list[str]) -> list[str]:
    if len(problems) <= _SHOWN:
        return problems
    rest = len(problems) - _SHOWN
    return [*problems[:_SHOWN], f"... and {rest} more {kind}"]


def _prefix_hint(missing: list[str], unexpected: list[str]) -> list[str]:
    """Whether the names differ by what they begin with, as a wrapper's do."""
    prefix = _prefix(missing, unexpected)
    if prefix:
        return [
            f"The state dict's names begin with {prefix!r}: load "
            f"{{name.removeprefix({prefix!r}): value for name, value in ...}}."
        ]
    prefix = _prefix(unexpected, missing)
    if prefix:
        return [
            f"The model's names begin with {prefix!r}, the state dict's do not: load "
            f"it into model.get_submodule({prefix[:-1]!r})."
        ]
    return []


def _prefix(names: list[str], longer: list[str]) -> str:
    """What most of `names`, put before them, turns into one of `longer`; "" if none."""
    those = set(longer)
    for name in names[:1]:
        for other in longer:
            prefix = other.removesuffix(name)
            if prefix != other and prefix.endswith("."):
                found = sum(prefix + each in those for each in names)
                if 2 * found > len(names):
                    return prefix
    return ""


def _nesting_hint(state_dict: Mapping[str, Any]) -> list[str]:
    """Whether this is a whole checkpoint, with the state dict inside."""
    inner = [name for name, value in state_dict.items() if isinstance(value, Mapping)]
    return [f"Is state_dict[{name!r}] the state dict?" for name in inner[:1]]


def _dtype_hint(mismatches: list[str]) -> list[str]:
    if not any(": dtype " in problem for problem in mismatches):
        return []
    return [
        "Cast the model first (model.half(), model.float()) or the state dict "
        "({name: value.astype(dtype) ...}), or load with cast=True."
    ]
