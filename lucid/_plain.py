"""Doing without Lucid's own kernels and derivatives, for a while."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import contextvars

_plain = contextvars.ContextVar("plain", default=False)


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """Compute with MLX's own operations and their own derivatives.

    For what MLX refuses custom kernels or custom derivatives: `mx.export_function`,
    `mx.compile(shapeless=True)`, and on a GPU `mx.vmap`. Slower where Lucid's are used.

    Example:
        >>> import lucid, lucid.nn as nn, mlx.core as mx
        >>> conv = nn.Conv3d(4, 4, 3, groups=4)
        >>> with lucid.plain_operations():
        ...     mx.vmap(conv)(lucid.ones(2, 1, 4, 5, 5, 5)).shape
        (2, 1, 4, 3, 3, 3)
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Whether the code runs inside `plain_operations`."""
    return _plain.get()
