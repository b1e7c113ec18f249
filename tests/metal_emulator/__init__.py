"""Metal kernels on a machine without Metal: their exact source, run on the CPU."""

from .emulation import Emulation, emulated_metal

__all__ = ["Emulation", "emulated_metal"]
