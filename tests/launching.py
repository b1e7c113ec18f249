"""Several ranks on this machine, started as users start them."""

from __future__ import annotations

import os
from pathlib import Path
import sys

FIRST_PORT = 32323  # mlx.launch's own
MOST_RANKS = 16


def launcher(ranks: int) -> list[str]:
    """The words that start a command as so many ranks.

    Each worker of pytest-xdist has ports of its own: they may launch at the same time.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    port = FIRST_PORT + MOST_RANKS * int(worker)
    program = str(Path(sys.executable).parent / "mlx.launch")
    return [program, "-n", str(ranks), "--starting-port", str(port), "--"]
