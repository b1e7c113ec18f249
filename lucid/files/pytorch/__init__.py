"""PyTorch's checkpoints, read without PyTorch; nothing in them is ever executed."""

from lucid.files.pytorch.legacy import MAGIC_BYTES, read_legacy
from lucid.files.pytorch.script import is_script, read_script
from lucid.files.pytorch.values import Placeholder
from lucid.files.pytorch.zipped import read_zip, torch_folder

__all__ = [
    "MAGIC_BYTES",
    "Placeholder",
    "is_script",
    "read_legacy",
    "read_script",
    "read_zip",
    "torch_folder",
]
