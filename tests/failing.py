"""Work that fails in the background."""

import mlx.core as mx


def fail_later() -> None:
    """Start what MLX can only raise where something is waited for next."""
    while True:
        try:
            return mx.async_eval(mx.linalg.inv(mx.zeros((300, 300)), stream=mx.cpu))
        except RuntimeError:  # it failed at once
            continue
