"""Functions of arrays, without state: `import lucid.nn.functional as F`."""

from typing import TYPE_CHECKING

from lucid.nn._missing import missing_function
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
from lucid.nn.functional.conv_transpose import conv_transpose3d
from lucid.nn.functional.cross_entropy import (
    cross_entropy,
    nll_loss,
)
from lucid.nn.functional.dropout import (
    alpha_dropout,
    dropout,
    dropout3d,
)
from lucid.nn.functional.embedding import (
    embedding,
    one_hot,
)
from lucid.nn.functional.focal import (
    focal_loss,
)
from lucid.nn.functional.linear import (
    linear,
    normalize,
)
from lucid.nn.functional.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from lucid.nn.functional.norm import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
)
from lucid.nn.functional.padding import pad
from lucid.nn.functional.pooling import (
    adaptive_avg_pool3d,
    adaptive_max_pool3d,
    avg_pool3d,
    max_pool3d,
)
from lucid.nn.functional.sampling import affine_grid, grid_sample
from lucid.nn.functional.segmentation import (
    dice_loss,
    generalized_dice_loss,
    tversky_loss,
)
from lucid.nn.functional.upsampling import interpolate

__all__ = [
    "adaptive_avg_pool3d",
    "adaptive_max_pool3d",
    "affine_grid",
    "alpha_dropout",
    "avg_pool3d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "conv3d",
    "conv_transpose3d",
    "cross_entropy",
    "dice_loss",
    "dropout",
    "dropout3d",
    "elu",
    "embedding",
    "focal_loss",
    "gelu",
    "generalized_dice_loss",
    "grid_sample",
    "group_norm",
    "hardswish",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool3d",
    "mish",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
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
    "tversky_loss",
]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # to a type checker, every name would be there

    def __getattr__(name):
        raise AttributeError(missing_function(name, __all__))
