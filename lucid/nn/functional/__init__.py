"""Functions of arrays, without state: `import lucid.nn.functional as F`."""

from lucid.nn.functional.activation import (
    gelu,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softmax,
    tanh,
)
from lucid.nn.functional.conv import conv3d
from lucid.nn.functional.padding import pad

__all__ = [
    "conv3d",
    "gelu",
    "leaky_relu",
    "pad",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
]
