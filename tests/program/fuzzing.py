"""Loads many hostile programs in one process: run it to repeat a failure.

python -m tests.program.fuzzing 7 1000     # seed, number of files
"""

from __future__ import annotations

import io
import json
from pathlib import Path
import random
from random import Random
import sys
import tempfile
import time
from typing import Any
import zipfile

import lucid
import mlx.core as mx

from tests.files.fuzz_inputs import NUMBERS, changed
from tests.files.fuzzing import fail, limit_memory, peak, set_deadline

DATA = Path(__file__).parents[1] / "data"
ODD: tuple[Any, ...] = (-1, *NUMBERS, 2**70, True, None, "1", "x", 1.5, [], {}, [[]])
ODD += (float("inf"), {"as_int": 3}, {"as_tensor": {"name": "x"}}, {"as_none": True})


def hostile(rng: Random) -> bytes:
    """A sound archive whose bytes, or whose JSON, were changed."""
    name = rng.choice(("unet", "unet_training", "in_place", "attention", "spectrum"))
    data = (DATA / f"{name}.pt2").read_bytes()
    if rng.random() < 0.2:
        return changed(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    for entry in [e for e in entries if e.endswith(".json")]:
        if rng.random() < 0.35:
            value = json.loads(entries[entry])
            for _ in range(rng.randint(1, 3)):
                change(value, rng)
            entries[entry] = json.dumps(value).encode()
    if rng.random() < 0.1:
        deep = b"[" * 100_000 if rng.random() < 0.5 else b'{"a":' * 100_000
        entries[f"{name}/models/model.json"] = deep
    if rng.random() < 0.1:
        del entries[rng.choice(list(entries))]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)
    return buffer.getvalue()


def change(value: Any, rng: Random) -> None:
    """Put something odd, or another part, somewhere into a JSON value."""
    holders: list[Any] = []
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict | list) and here:
            holders.append(here)
            waiting += here.values() if isinstance(here, dict) else here
    if not holders:
        return
    holder, other = rng.choice(holders), rng.choice(holders)
    key = pick(holder, rng)
    kind = rng.random()
    if kind < 0.6:
        holder[key] = rng.choice(ODD)
    elif kind < 0.8:
        part = other[pick(other, rng)]
        if not isinstance(part, dict | list):  # a part of itself would have no end
            holder[key] = part
    else:
        del holder[key]


def pick(holder: Any, rng: Random) -> Any:
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    return rng.choice(list(keys))


def main(seed: int, count: int) -> int:
    """How many programs were loaded, run and refused, as JSON; 1 after a failure."""
    limit_memory()
    began = time.monotonic()
    counts = {"loaded": 0, "ran": 0, "refused": 0}
    x = mx.ones((2, 1, 4, 6, 8))
    one = mx.array(1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hostile.pt2"
        for i in range(count):
            data = hostile(random.Random(f"{seed} {i}"))
            path.write_bytes(data)
            set_deadline()
            try:
                net = lucid.load_program(path)
                counts["loaded"] += 1
                counts["ran"] += runs(net, x, one)
            except lucid.CheckpointError as error:
                if not str(error).startswith(str(path)):
                    return fail(i, data)
                counts["refused"] += 1
            except BaseException:  # noqa: BLE001
                return fail(i, data)
    result = counts | {"peak_mib": peak() >> 20}
    print(json.dumps(result | {"seconds": round(time.monotonic() - began, 1)}))
    return 0


def runs(net: Any, x: mx.array, one: mx.array) -> bool:
    """Whether a call gives arrays; else it raises an error, and nothing worse."""
    for args, kwargs in (((x,), {}), ((x, [one, one]), {"options": {"shift": one}})):
        try:
            mx.eval(net(*args, **kwargs))
        except Exception:  # noqa: BLE001 - any error is fine, a crash is not
            continue
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
