"""Lucid on Apple's GPUs: its Metal kernels, and how a convolution is computed there.

`python -m lucid.metal` compares every Metal kernel with the same computation made of
MLX operations.
"""

from lucid._device import uses_metal as enabled
from lucid.metal.explain import explain

__all__ = ["enabled", "explain"]
