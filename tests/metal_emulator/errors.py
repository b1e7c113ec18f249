"""What the emulator reports."""


class EmulationError(AssertionError):
    """A fault of the kernel that is being emulated."""


class KernelRefusedError(EmulationError):
    """The source is no Metal, or none that the emulator knows."""


class MissingToolError(AssertionError):
    """A tool the emulator needs is not installed; the message says which."""
