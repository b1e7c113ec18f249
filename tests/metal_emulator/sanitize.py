"""Kernels under the address and undefined-behavior sanitizers, in a child process.

Python is not built with them, so their libraries are loaded before it; a fault ends
the process, hence the child.
"""

from collections.abc import Sequence
import os
from pathlib import Path
import pickle
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from .build import SANITIZERS, compiler
from .capture import Kernel
from .errors import EmulationError, MissingToolError
from .run import run

_ROOT = Path(__file__).parents[2]
_PACKAGE = __name__.rpartition(".")[0]


def sanitizer_report(launches: Sequence[tuple[Kernel, Sequence[np.ndarray]]]) -> str:
    """What the sanitizers, or the emulator, say of these launches; empty if nothing."""
    with tempfile.NamedTemporaryFile(suffix=".pickle") as file:
        pickle.dump([(kernel, list(inputs)) for kernel, inputs in launches], file)
        file.flush()
        child = subprocess.run(
            [sys.executable, "-m", f"{_PACKAGE}.sanitize", file.name],
            cwd=_ROOT,
            env=_environment(),
            capture_output=True,
            text=True,
        )
    return child.stderr or f"exit status {child.returncode}" if child.returncode else ""


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        SANITIZERS: "address,undefined",
        "LD_PRELOAD": " ".join(_library(name) for name in ("libasan", "libubsan")),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }


def _library(name: str) -> str:
    found = _answer(f"-print-file-name={name}.so")
    if not Path(found).is_absolute() or "clang" in _answer("--version"):
        raise MissingToolError(f"the sanitizers need g++ with {name}, on Linux")
    return found


def _answer(question: str) -> str:
    command = [*compiler(), question]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _are_there() -> bool:
    try:
        return sys.platform == "linux" and bool(_library("libasan"))
    except MissingToolError:
        return False


needs_sanitizers = pytest.mark.skipif(
    not _are_there(),
    reason="the address sanitizer's library is g++'s, and loaded by Linux's means",
)


def _main(path: str) -> None:
    with open(path, "rb") as file:
        launches = pickle.load(file)
    for kernel, inputs in launches:
        try:
            run(kernel, inputs)
        except EmulationError as error:
            sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    _main(sys.argv[1])
