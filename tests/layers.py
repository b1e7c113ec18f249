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
    VOLUME,
    Input,
    Row,
    classes,
    rows,
    shifted,
)


def _conv(**options: Any) -> Row:
    return Row("Conv3d", (4, 6, 3), options, lazy=(6, 3))


CONVOLUTIONS = [
    _conv(),
    _conv(padding=1, stride=(1, 2, 1)),
    _conv(padding="same", dilation=2, groups=2),
    _conv(padding=(0, 1, 2), padding_mode="circular", bias=False),
]


def _transpose(*arguments: Any, **options: Any) -> Row:
    given = (6, *arguments)
    return Row("ConvTranspose3d", (4, *given), options, lazy=given)


CONVOLUTIONS += [
    _transpose(2, 2),
    _transpose(3, 2, 1, 1, 2),
    _transpose(4, 2, 1, bias=False),
    _transpose((1, 3, 2), (2, 1, 3), (0, 1, 0), (1, 1, 2), dilation=(1, 2, 2)),
    Row("ConvTranspose3d", (4, 4, 3, 2, 1, 1, 4), lazy=(4, 3, 2, 1, 1, 4)),
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

_STATISTICS = {"track_running_stats": True}
_NONE = {"track_running_stats": False}
_FLAT = (Input((3, 4)),)
_WIDE = Input((3, 8))

NORMS = [
    Row("BatchNorm3d", (4,), lazy=(), unbatched=False),
    *(
        Row("BatchNorm3d", (4,), options, lazy=(), unbatched=False)
        for options in (
            {"momentum": None, "eps": 1e-3},
            {"affine": False},
            {"track_running_stats": False, "bias": False},
        )
    ),
    Row("BatchNorm3d", (4,), inputs=(Input(VOLUME.shape, shifted),), unbatched=False),
    Row("InstanceNorm3d", (4,)),
    Row("InstanceNorm3d", (4,), {"affine": True, **_STATISTICS}, lazy=()),
    Row("InstanceNorm3d", (4,), {"affine": False, **_STATISTICS}, lazy=()),
    Row("InstanceNorm3d", (4,), _NONE | {"affine": True, "bias": False}, lazy=()),
    Row("InstanceNorm3d", (4,), _NONE | {"affine": False}, lazy=()),
    Row("InstanceNorm3d", (4, 1e-3, 0.3, True), inputs=(Input(VOLUME.shape, shifted),)),
    *rows("GroupNorm", ((2, 4), {}), ((1, 4, 1e-3), {}), unbatched=False),
    *rows("GroupNorm", ((4, 4), {"bias": False}), unbatched=False),
    *rows("GroupNorm", ((2, 8), {"affine": False}), inputs=(_WIDE,), unbatched=False),
    *rows("LayerNorm", ((7,), {}), (((6, 7), 1e-3), {"bias": False})),
    Row("LayerNorm", (7,), {"elementwise_affine": False}),
]

POOLS = [
    *rows("MaxPool3d", ((2,), {}), ((3, 2, 1), {}), (((2, 1, 3), 2, 0, 2), {})),
    *rows("MaxPool3d", ((2,), {"ceil_mode": True}), ((2, 1), {"return_indices": True})),
    *rows("AvgPool3d", ((2,), {}), (((1, 2, 3), 2, (0, 1, 1)), {"ceil_mode": True})),
    *rows("AvgPool3d", ((3, 2, 1, True, False), {}), ((2,), {"divisor_override": 5})),
    *rows("AdaptiveAvgPool3d", ((1,), {}), (((2, None, 3),), {}), ((9,), {})),
    *rows("AdaptiveMaxPool3d", (((1, 2, 4),), {}), ((2, True), {})),
]

DROPOUTS = [
    *rows("Dropout", ((), {}), ((0.2, True), {}), random=True),
    *rows("Dropout3d", ((0.3,), {}), ((), {"inplace": True}), random=True),
    *rows("AlphaDropout", ((), {}), random=True),
]

LINEARS = [
    Row("Linear", (7, 3), lazy=(3,)),
    Row("Linear", (4, 3), {"bias": False}, lazy=(3,), inputs=_FLAT),
    Row("Embedding", (9, 4), inputs=(Input((3, 5), classes(9)),)),
    Row("Embedding", (9, 4, -2), inputs=(Input((3, 50), classes(9)),)),
]

FAMILIES: dict[str, Sequence[Row]] = {
    "convolutions": CONVOLUTIONS,
    "activations": ACTIVATIONS,
    "shapes": SHAPES,
    "paddings": PADDINGS,
    "upsamplings": UPSAMPLINGS,
    "losses": LOSSES,
    "norms": NORMS,
    "pools": POOLS,
    "dropouts": DROPOUTS,
    "linears": LINEARS,
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


_ONE_VOXEL = ((1, 4, 1, 1, 1),)
_CUBE = ((1, 4, 4, 4, 4),)

REFUSED = [
    Refused("BatchNorm3d", (4,), shapes=((4, 5, 5, 5),), says="5-D"),
    Refused("BatchNorm3d", (4,), shapes=((2, 3, 5, 5, 5),), says="num_features"),
    Refused("BatchNorm3d", (4,), shapes=_ONE_VOXEL, says="more than one value"),
    Refused("InstanceNorm3d", (3, 1e-5, 0.1, True), shapes=_CUBE, says="num_features"),
    Refused("InstanceNorm3d", (4,), shapes=((4, 5, 5),), says="input"),
    Refused("InstanceNorm3d", (4,), shapes=_ONE_VOXEL, says="more than one voxel"),
    Refused("GroupNorm", (4, 6), says="num_groups"),
    Refused("GroupNorm", (2, 6), shapes=_CUBE, says="weight"),
    Refused("LayerNorm", ((4, 5),), shapes=((2, 4, 4),), says="normalized_shape"),
    Refused("MaxPool3d", (5,), shapes=_CUBE, says="kernel_size"),
    Refused("MaxPool3d", (2, 2, 2), shapes=_CUBE, says="padding"),
    Refused("MaxPool3d", (2, 0), shapes=_CUBE, says="stride"),
    Refused("MaxPool3d", (2.5,), shapes=_CUBE, error=TypeError, says="kernel_size"),
    Refused("AvgPool3d", (2,), shapes=((4, 4, 4),), says="input"),
    Refused("AvgPool3d", (2,), {"divisor_override": 0}, _CUBE, says="divisor"),
    Refused("AdaptiveAvgPool3d", ((2, 2),), shapes=_CUBE, says="output_size"),
    Refused("AdaptiveMaxPool3d", (-1,), shapes=_CUBE, says="output_size"),
    Refused("Dropout", (1.5,), says="p"),
    Refused("AlphaDropout", (-0.1,), says="p"),
    Refused("Linear", (3, 4), shapes=((2, 4),), says="input"),
    Refused("Linear", (-1, 4), says="in_features"),
    Refused("ConvTranspose3d", (4, 6, 3), {"groups": 3}, says="groups"),
    Refused(
        "ConvTranspose3d", (4, 6, 3), {"padding_mode": "reflect"}, says="padding_mode"
    ),
    Refused("ConvTranspose3d", (4, 6, 3), shapes=((2, 3, 5, 5, 5),), says="channels"),
    Refused("ConvTranspose3d", (4, 6, 3), shapes=((4, 5, 5),), says="input"),
    Refused(
        "ConvTranspose3d", (4, 6, 3, 1, 4), shapes=((2, 4, 2, 5, 5),), says="padding"
    ),
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
