"""Layers, containers and what trains them: `import lucid.nn as nn`."""

from lucid.nn import functional, init
from lucid.nn._lazy import (
    LazyModule,
    has_uninitialized_params,
    materialize,
    value_and_grad,
)
from lucid.nn._module import Module, Parameter
from lucid.nn._state_dict import StateDictError
from lucid.nn._uninitialized import UninitializedParameterError
from lucid.nn.activation import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Tanh
from lucid.nn.container import ModuleDict, ModuleList, Sequential
from lucid.nn.conv import Conv3d, LazyConv3d
from lucid.nn.flatten import Flatten, Identity

__all__ = [
    "GELU",
    "Conv3d",
    "Flatten",
    "Identity",
    "LazyConv3d",
    "LazyModule",
    "LeakyReLU",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "StateDictError",
    "Tanh",
    "UninitializedParameterError",
    "functional",
    "has_uninitialized_params",
    "init",
    "materialize",
    "value_and_grad",
]
