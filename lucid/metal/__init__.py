"""Lucid on Apple's GPUs: its own kernels, and which path a convolution takes there.

`python -m lucid.metal` compares every kernel with its twin made of MLX operations.
"""

from lucid.metal.choice import choose, enabled
from lucid.metal.costs import explain

__all__ = ["choose", "enabled", "explain"]
