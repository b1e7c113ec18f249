"""Predictions for volumes larger than a network takes at once."""

from lucid.inference.mirroring import with_mirroring
from lucid.inference.sliding_window import sliding_window_inference

__all__ = ["sliding_window_inference", "with_mirroring"]
