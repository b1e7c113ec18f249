"""How long Lucid's corridors are: the files that four calls cross.

    python -m tests.corridors

For each call: how many of Lucid's files it enters, how many of Lucid's functions it
calls, and how often one call is in another file than the call before it.
"""

from __future__ import annotations

from collections.abc import Callable
import itertools
from pathlib import Path
import sys
from typing import Any

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx

from tests.metal_emulator import emulated_metal

PACKAGE = str(Path(lucid.__file__).parent)


def walk(call: Callable[[], Any]) -> list[str]:
    """The file of every function of Lucid's that is called, in order."""
    files: list[str] = []

    def record(frame: Any, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(PACKAGE):
            files.append(name)

    sys.setprofile(record)
    try:
        call()
    finally:
        sys.setprofile(None)
    return files


def line(name: str, call: Callable[[], Any]) -> str:
    files = walk(call)
    changes = sum(a != b for a, b in itertools.pairwise(files))
    if "--files" in sys.argv:
        print(*(Path(file).relative_to(PACKAGE) for file in dict.fromkeys(files)))
    return f"| {name} | {len(set(files))} | {len(files)} | {changes} |"


def network() -> nn.Module:
    return nn.Sequential(nn.LazyConv3d(8, 3, padding=1), nn.ReLU(), nn.LazyConv3d(4, 1))


def main() -> None:
    x, w = mx.zeros((1, 8, 24, 24, 24)), mx.zeros((8, 8, 3, 3, 3))
    small, wide = mx.zeros((1, 2, 6, 6, 6)), mx.zeros((1, 8, 6, 6, 6))
    depthwise = mx.zeros((8, 1, 3, 3, 3))
    state = nn.Sequential(
        nn.Conv3d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, 4, 1)
    ).state_dict()
    # What is cached is made once: shapes of another size leave the walks to follow.
    F.conv3d(x, w, padding=1)
    print(
        "| call | files | functions | changes of file |", "|---|---|---|---|", sep="\n"
    )
    print(line("`F.conv3d`, CPU", lambda: F.conv3d(x, w, padding=1)))
    with emulated_metal():
        arguments = {"padding": 1, "groups": 8}
        F.conv3d(wide, depthwise, **arguments)
        print(line("`F.conv3d`, GPU", lambda: F.conv3d(wide, depthwise, **arguments)))
    model = network()
    step = nn.value_and_grad(model, lambda x: model(x).square().mean())
    print(line("first call in `value_and_grad`", lambda: step(small)))
    lazy = network()
    print(line("load into a lazy model", lambda: lazy.load_state_dict(state)))


if __name__ == "__main__":
    main()
