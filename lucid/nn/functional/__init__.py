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
from lucid.nn.functional.cross_entropy import (
    cross_entropy,
    nll_loss,
)
from lucid.nn.functional.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from lucid.nn.functional.padding import pad
from lucid.nn.functional.sampling import affine_grid, grid_sample
from lucid.nn.functional.upsampling import interpolate

__all__ = [
    "affine_grid",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "conv3d",
    "cross_entropy",
    "elu",
    "gelu",
    "grid_sample",
    "hardswish",
    "huber_loss",
    "interpolate",
    "l1_loss",
    "leaky_relu",
    "log_softmax",
    "mish",
    "mse_loss",
    "nll_loss",
    "pad",
    "prelu",
    "relu",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]
