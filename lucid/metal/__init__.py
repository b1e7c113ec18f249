"""Lucid on Apple's GPUs: its own kernels, and which path a convolution takes there.

`python -m lucid.metal` compares every Metal kernel with its twin made of MLX
operations.
"""

from lucid._device import uses_metal as enabled
from lucid.metal.explain import explain

__all__ = ["enabled", "explain"]
