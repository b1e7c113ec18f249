"""SciPy, for the few functions that use it where it is there."""

from __future__ import annotations

from typing import Any


def ndimage(asking: str) -> Any:
    """`scipy.ndimage`, or an error that names the function asking for it."""
    try:
        from scipy import ndimage
    except ImportError:
        raise ImportError(f"{asking} needs SciPy: pip install scipy.") from None
    return ndimage
