"""Whether formulations are measured, or chosen by rules."""

from __future__ import annotations

import contextlib
import os

from lucid._cpu import OFF
from lucid._types import flag, shown

VARIABLE = "LUCID_AUTOTUNE"

_ON = ("1", "on", "true", "yes")

_switched: bool | None = None  # by `autotune`; None leaves it to the variable


def autotune(enabled: bool = True) -> contextlib.AbstractContextManager[None]:
    """Choose the fastest algorithm of each convolution by measuring, not by rules.

    The first call of a convolution with new shapes or a new dtype times every
    algorithm that fits, on random arrays, and remembers the fastest. As a context
    manager, it is switched back at the end. `LUCID_AUTOTUNE=1` switches it on without a
    change to the program.

    Args:
        enabled: whether to measure from here on.

    Raises:
        TypeError: if `enabled` is not True or False.

    Example:
        >>> import lucid
        >>> with lucid.autotune(False):
        ...     y = lucid.nn.Conv3d(4, 8, 3)(lucid.ones(1, 4, 8, 8, 8))
    """
    global _switched
    before, _switched = _switched, flag("enabled", enabled)
    return _Switched(before)


class _Switched:
    """Switches back at the end of a `with`."""

    def __init__(self, before: bool | None) -> None:
        self.before = before

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        global _switched
        _switched = self.before


def enabled() -> bool:
    """Whether formulations are measured, asked at every call.

    Raises:
        ValueError: if LUCID_AUTOTUNE is set to what is neither yes nor no.
    """
    if _switched is not None:
        return _switched
    value = os.environ.get(VARIABLE, "")
    if not value or value.lower() in OFF:
        return False
    if value.lower() in _ON:
        return True
    raise ValueError(f"`{VARIABLE}` (={shown(value)}) must be 1 or 0.")
