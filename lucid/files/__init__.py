"""State dicts on disk: what is saved, and what is read."""

from lucid.files.error import CheckpointError
from lucid.files.loading import load
from lucid.files.pytorch import Placeholder
from lucid.files.saving import save

__all__ = ["CheckpointError", "Placeholder", "load", "save"]
