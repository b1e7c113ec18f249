"""Networks exported from PyTorch, to run and train without PyTorch."""

from lucid.program.loading import load_program
from lucid.program.program import Program

__all__ = ["Program", "load_program"]


def __dir__() -> list[str]:
    return __all__
