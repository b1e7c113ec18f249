"""Prediction of whole volumes, larger than a network's input."""

from lucid.inference.mirroring import with_mirroring
from lucid.inference.nnunet import PreprocessedVolume, nnunet_preprocess
from lucid.inference.resampling import resample_volume
from lucid.inference.sliding_window import sliding_window_inference

__all__ = [
    "PreprocessedVolume",
    "nnunet_preprocess",
    "resample_volume",
    "sliding_window_inference",
    "with_mirroring",
]


def __dir__() -> list[str]:
    return __all__
