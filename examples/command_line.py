"""What the examples' command lines share: short answers, and a quiet Ctrl-C.

A script calls `begin` before it imports what takes long, and `run` at its end.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import signal
import sys
from typing import NoReturn


def begin() -> None:
    """Have Ctrl-C end the script at once and without a traceback, until `run`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Exit with what `main` returns; a Ctrl-C that it lets through is quiet, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # as of a process that the signal ended


class Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        name = self.prog.removesuffix(".py")
        self.exit(2, f"{name}: {message} (--help lists the options)\n")


def whole(least: int) -> Callable[[str], int]:
    """For a parser's `type`: whole numbers from `least` on."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(
                f"{text} is out of range: {least} is the least"
            )
        return number

    return read


def between(low: float, high: float) -> Callable[[str], float]:
    """For a parser's `type`: numbers between two others, which are not meant."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is not a number") from None
        if not low < number < high:
            raise argparse.ArgumentTypeError(
                f"{text} is out of range: more than {low:g}, less than {high:g}"
            )
        return number

    return read
