"""The table: from PyTorch's name of an operation to a function of Lucid's or MLX's.

A function takes the arguments of PyTorch's schema by name. `aten.relu_.default`, in
place, is not here: it is `aten.relu.default`, written into its first argument.
"""

from lucid.program.operations.creation import CREATION
from lucid.program.operations.decomposed import DECOMPOSED
from lucid.program.operations.layers import LAYERS, MODES, RANDOM_LAYERS
from lucid.program.operations.pointwise import CASTS, POINTWISE
from lucid.program.operations.reductions import REDUCTIONS
from lucid.program.operations.shapes import SHAPES, VIEWS
from lucid.program.operations.symbols import SYMBOLS

TABLE = {
    **{**CREATION, **LAYERS, **DECOMPOSED, **POINTWISE},
    **{**REDUCTIONS, **SHAPES, **SYMBOLS},
}
RANDOM = {
    *RANDOM_LAYERS,
    *("aten.rand.default", "aten.randn.default"),
    *("aten.rand_like.default", "aten.randn_like.default", "aten.bernoulli.default"),
}
"""Operations that draw numbers."""

ATTENTION = "aten.scaled_dot_product_attention.default"
"""It drops with a probability, which is 0 in an export for evaluation."""

FLOATING = {*CREATION, *CASTS}
"""Operations whose float32 was the network's dtype when it was exported."""

SKIPPED = {
    "aten._assert_tensor_metadata.default",
    "aten._assert_scalar.default",
    "aten._assert_async.msg",
    "aten.sym_constrain_range.default",
    "aten.sym_constrain_range_for_size.default",
    "aten._check_is_size.default",
}
"""Operations that compute nothing: PyTorch's checks of the shapes it exported with."""

__all__ = [
    "ATTENTION",
    "FLOATING",
    "MODES",
    "RANDOM",
    "SKIPPED",
    "SYMBOLS",
    "TABLE",
    "VIEWS",
]
