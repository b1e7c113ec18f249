"""Functions of arrays, without state: `import lucid.nn.functional as F`."""

from lucid.nn.functional.activation import (
    celu,
    elu,
    gelu,
    hardswish,
    leaky_relu,
    log_softmax,
    mish,
    prelu,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from lucid.nn.functional.conv import conv3d
from lucid.nn.functional.padding import pad
from lucid.nn.functional.sampling import affine_grid, grid_sample
from lucid.nn.functional.upsampling import interpolate

__all__ = [
    "affine_grid",
    "celu",
    "conv3d",
    "elu",
    "gelu",
    "grid_sample",
    "hardswish",
    "interpolate",
    "leaky_relu",
    "log_softmax",
    "mish",
    "pad",
    "prelu",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
