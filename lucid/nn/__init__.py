"""Layers, containers and what trains them: `import lucid.nn as nn`."""

from typing import TYPE_CHECKING

from lucid.nn import functional, init
from lucid.nn._lazy import LazyModule
from lucid.nn._materialize import (
    has_uninitialized_params,
    materialize,
    value_and_grad,
)
from lucid.nn._missing import missing_layer
from lucid.nn._module import Buffer, Module, Parameter
from lucid.nn._state_dict import IncompatibleKeys
from lucid.nn._state_dict_error import StateDictError
from lucid.nn._uninitialized import UninitializedParameterError
from lucid.nn.activation import (
    CELU,
    ELU,
    GELU,
    SELU,
    Hardswish,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from lucid.nn.compound import (
    DiceCELoss,
    DiceFocalLoss,
)
from lucid.nn.container import ModuleDict, ModuleList, Sequential
from lucid.nn.conv import Conv3d, LazyConv3d
from lucid.nn.conv_transpose import ConvTranspose3d, LazyConvTranspose3d
from lucid.nn.deep_supervision import (
    DeepSupervisionLoss,
)
from lucid.nn.dropout import (
    AlphaDropout,
    Dropout,
    Dropout3d,
)
from lucid.nn.embedding import (
    Embedding,
)
from lucid.nn.flatten import Flatten, Identity
from lucid.nn.focal import (
    FocalLoss,
)
from lucid.nn.group_norm import (
    GroupNorm,
    LayerNorm,
)
from lucid.nn.linear import (
    LazyLinear,
    Linear,
)
from lucid.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from lucid.nn.norm import (
    BatchNorm3d,
    InstanceNorm3d,
    LazyBatchNorm3d,
    LazyInstanceNorm3d,
)
from lucid.nn.padding import (
    CircularPad3d,
    ConstantPad3d,
    ReflectionPad3d,
    ReplicationPad3d,
    ZeroPad3d,
)
from lucid.nn.parameter import ParameterDict, ParameterList
from lucid.nn.pooling import (
    AdaptiveAvgPool3d,
    AdaptiveMaxPool3d,
    AvgPool3d,
    MaxPool3d,
)
from lucid.nn.segmentation import (
    DiceLoss,
    GeneralizedDiceLoss,
    TverskyLoss,
)
from lucid.nn.upsampling import Upsample

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "SELU",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool3d",
    "AlphaDropout",
    "AvgPool3d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm3d",
    "Buffer",
    "CircularPad3d",
    "ConstantPad3d",
    "Conv3d",
    "ConvTranspose3d",
    "CrossEntropyLoss",
    "DeepSupervisionLoss",
    "DiceCELoss",
    "DiceFocalLoss",
    "DiceLoss",
    "Dropout",
    "Dropout3d",
    "Embedding",
    "Flatten",
    "FocalLoss",
    "GeneralizedDiceLoss",
    "GroupNorm",
    "Hardswish",
    "HuberLoss",
    "Identity",
    "IncompatibleKeys",
    "InstanceNorm3d",
    "L1Loss",
    "LayerNorm",
    "LazyBatchNorm3d",
    "LazyConv3d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm3d",
    "LazyLinear",
    "LazyModule",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool3d",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "PReLU",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "ReLU",
    "ReflectionPad3d",
    "ReplicationPad3d",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "StateDictError",
    "Tanh",
    "TverskyLoss",
    "UninitializedParameterError",
    "Upsample",
    "ZeroPad3d",
    "functional",
    "has_uninitialized_params",
    "init",
    "materialize",
    "value_and_grad",
]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # to a type checker, every name would be there

    def __getattr__(name):
        raise AttributeError(missing_layer(name, __all__))
