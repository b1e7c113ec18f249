"""Lucid first: it loads a fast BLAS, which has to come before MLX."""

import lucid  # noqa: F401
