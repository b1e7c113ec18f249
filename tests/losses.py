"""The table of losses, which is part of the table of layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.rows import VOLUME, Input, Row, classes, fractions, spread


def between(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers midway between those of `spread`: no difference is 0, 0.5 or 1."""
    return spread(rng, shape) + np.float32(2 / max(1, math.prod(shape)))


_TARGET = Input(VOLUME.shape, between)
_PROBABILITY = Input(VOLUME.shape, fractions)
_CLASSES = Input((2, 5, 6, 7), classes(4))


def _losses(name: str, *options: dict[str, Any], **fields: Any) -> list[Row]:
    """Rows of a loss: without reduction, one for each of the options, one summed."""
    variants = [{"reduction": "none"}, *options, {"reduction": "sum"}]
    return [
        Row(
            name,
            (),
            given,
            unbatched=given == variants[0] and fields.get("unbatched", True),
            empty=given == variants[0],
            **{k: v for k, v in fields.items() if k != "unbatched"},
        )
        for given in variants
    ]


_INDICES = Input((2, 1, 5, 6, 7), classes(4))
_GIVEN = Input(VOLUME.shape, fractions, constant=True)
_ONE_NUMBER: dict[str, Any] = {"unbatched": False, "empty": False}


def _segmentation(name: str, *options: dict[str, Any]) -> list[Row]:
    """Rows of a loss of volumes: of class indices, and of numbers for each class."""
    made = []
    for given in options:
        indices = {"to_onehot_y": True, "reduction": "none", **given}
        made.append(Row(name, (), indices, (VOLUME, _INDICES), **_ONE_NUMBER))
        made.append(Row(name, (), given, (VOLUME, _GIVEN), **_ONE_NUMBER))
    return made


LOSSES = [
    *_losses("L1Loss", {}, inputs=(VOLUME, _TARGET)),
    *_losses("MSELoss", {}, inputs=(VOLUME, _TARGET)),
    *_losses("SmoothL1Loss", {}, {"beta": 0.5}, inputs=(VOLUME, _TARGET)),
    *_losses("HuberLoss", {}, {"delta": 0.5}, inputs=(VOLUME, _TARGET)),
    *_losses("BCELoss", {}, inputs=(_PROBABILITY, _PROBABILITY)),
    *_losses("BCEWithLogitsLoss", {}, inputs=(VOLUME, _PROBABILITY)),
    *_losses(
        "NLLLoss", {"ignore_index": 2}, {}, inputs=(VOLUME, _CLASSES), unbatched=False
    ),
    *_losses(
        "CrossEntropyLoss",
        {"label_smoothing": 0.1},
        {"ignore_index": 1},
        {},
        inputs=(VOLUME, _CLASSES),
        unbatched=False,
    ),
    *_losses(
        "CrossEntropyLoss",
        {"label_smoothing": 0.3},
        inputs=(VOLUME, _PROBABILITY),
        unbatched=False,
    ),
    *_segmentation("DiceLoss", {"sigmoid": True}, {"softmax": True, "batch": True}),
    *_segmentation("GeneralizedDiceLoss", {"softmax": True}),
    *_segmentation("TverskyLoss", {"sigmoid": True, "beta": 0.7}),
    *_segmentation("FocalLoss", {"use_softmax": True}, {"alpha": 0.3}),
    *_segmentation("DiceFocalLoss", {"softmax": True, "reduction": "sum"}),
    Row(
        "DiceCELoss",
        (True, True, False, True),
        inputs=(VOLUME, _INDICES),
        **_ONE_NUMBER,
    ),
    Row("DiceCELoss", (), {"softmax": True}, (VOLUME, _PROBABILITY), **_ONE_NUMBER),
]
