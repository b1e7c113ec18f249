"""The table of layers: what `tests/nn/test_layers.py` and the oracle's test read.

A new layer is a new row. A row is a layer under one set of arguments, and what it is
called on; the tests ask of every row what all layers have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.losses import LOSSES
from tests.rows import (
    Row,
    rows,
)


def _conv(**options: Any) -> Row:
    return Row("Conv3d", (4, 6, 3), options, lazy=(6, 3))


CONVOLUTIONS = [
    _conv(),
    _conv(padding=1, stride=(1, 2, 1)),
    _conv(padding="same", dilation=2, groups=2),
    _conv(padding=(0, 1, 2), padding_mode="circular", bias=False),
]

ACTIVATIONS = [
    *(Row(name) for name in ("ReLU", "GELU", "SiLU", "Sigmoid", "Tanh")),
    *(Row(name, (), {"inplace": True}) for name in ("ReLU", "SiLU", "LeakyReLU")),
    *rows("GELU", (("tanh",), {})),
    *rows("LeakyReLU", ((0.3,), {})),
    *rows("Softmax", ((1,), {}), ((), {"dim": -2}), unbatched=False),
    *rows("LogSoftmax", ((1,), {}), ((), {"dim": -2}), unbatched=False),
    Row("PReLU"),
    Row("PReLU", (4, 0.1), unbatched=False),
    *rows("ELU", ((), {}), ((0.3, True), {})),
    *rows("SELU", ((), {}), ((True,), {})),
    *rows("CELU", ((), {}), ((0.3,), {}), ((-0.7,), {})),
    *rows("Mish", ((), {}), ((), {"inplace": True})),
    *rows("Hardswish", ((), {})),
    *rows("Softplus", ((), {}), ((3.0, 2.0), {})),
]

SHAPES = [
    *rows("Flatten", ((), {}), unbatched=False),
    Row("Flatten", (-2, -1)),
    Row("Identity"),
]

_SIDES = (1, 0, 2, 1, 0, 3)

PADDINGS = [
    *rows("ConstantPad3d", ((2, -1.5), {}), (((-1, 2, 0, 1, -2, 0), 3), {})),
    *rows("ZeroPad3d", ((_SIDES,), {}), ((1,), {})),
    *rows("ReflectionPad3d", ((_SIDES,), {}), ((4,), {})),
    *rows("ReplicationPad3d", ((_SIDES,), {}), ((7,), {})),
    *rows("CircularPad3d", ((_SIDES,), {}), ((5,), {})),
]

UPSAMPLINGS = rows(
    "Upsample",
    ((), {"scale_factor": 2, "mode": "trilinear"}),
    ((), {"scale_factor": 2}),
    ((), {"size": (10, 3, 9)}),
    ((7,), {"mode": "nearest-exact"}),
    (((4, 9, 10),), {"mode": "trilinear", "align_corners": True}),
    ((None, (1.5, 0.7, 2), "trilinear", False, True), {}),
    ((None, (1.5, 0.7, 2.0), "trilinear"), {}),
    (((3, 8, 7),), {"mode": "area"}),
    unbatched=False,
)


FAMILIES: dict[str, Sequence[Row]] = {
    "convolutions": CONVOLUTIONS,
    "activations": ACTIVATIONS,
    "shapes": SHAPES,
    "paddings": PADDINGS,
    "upsamplings": UPSAMPLINGS,
    "losses": LOSSES,
}

ROWS = [row for family in FAMILIES.values() for row in family]


@dataclass(frozen=True)
class Refused:
    """What the layer refuses, as PyTorch's does: by its arguments or at the call.

    Attributes:
        name: of `nn.X`.
        arguments: of its constructor.
        options: its keyword arguments.
        shapes: of the inputs that it is called on; None if it is refused before.
        error: what is raised.
        says: what the message names.
    """

    name: str
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    shapes: tuple[tuple[int, ...], ...] | None = None
    error: type[Exception] = ValueError
    says: str = ""

    def __str__(self) -> str:
        return f"{self.name}{self.arguments}{self.options}{self.shapes or ''}"


REFUSED = [
    Refused("Conv3d", (4, 6, 3), {"groups": 3}, says="groups"),
    Refused("Conv3d", (4, 6, 3), {"padding": "full"}, says="padding"),
    Refused("Conv3d", (4, 6, 3), {"padding_mode": "mirror"}, says="padding_mode"),
    Refused("Conv3d", (4, 6, 3), shapes=((2, 3, 5, 5, 5),), says="channels"),
    Refused("Conv3d", (4, 6, 3), shapes=((2, 4, 5, 5),), says="channels"),
    Refused("Conv3d", (4, 6, 3), shapes=((4, 5, 5),), says="input"),
    Refused("Conv3d", (4, 6, 3), shapes=((2, 4, 2, 5, 5),), says="kernel_size"),
    Refused("ReflectionPad3d", (4,), shapes=((2, 3, 4, 5, 5),), says="reflect"),
    Refused("CircularPad3d", (5,), shapes=((2, 3, 4, 5, 5),), says="circular"),
    Refused("ReplicationPad3d", (1,), shapes=((4, 5, 5),), says="input"),
    Refused("Upsample", (), shapes=((1, 1, 4, 4, 4),), says="size"),
    Refused("Upsample", (2, 2.0), shapes=((1, 1, 4, 4, 4),), says="scale_factor"),
]
