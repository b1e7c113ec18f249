"""Reads many hostile files in one process of little memory: run it to repeat a failure.

python -m tests.files.fuzzing npz 7 1000     # format, seed, number of files
"""

from __future__ import annotations

import codecs
import json
from pathlib import Path
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from typing import Any

import lucid
import mlx.core as mx

from tests.files.fuzz_inputs import GENERATORS

# Far more than any of these files of kilobytes should need.
MOST_BYTES = 2**30
MOST_SECONDS = 5  # of the processor's, whatever else the machine does
MOST_WAITING = 300
STATUS = Path("/proc/self/status")


def main(kind: str, seed: int, count: int) -> int:
    """How many files were read and how many refused, as JSON; 1 after a failure."""
    limit_memory()
    watch = Watch()
    began, loaded, refused = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hostile"
        for i in range(count):
            data = GENERATORS[kind](random.Random(f"{kind} {seed} {i}"))
            path.write_bytes(data)
            set_deadline()
            try:
                with watch:
                    value = lucid.load(path, unknown="error" if i % 2 else "skip")
                check(value)
                loaded += 1
            except lucid.CheckpointError as error:
                if not str(error).startswith(str(path)):
                    return fail(i, data)
                refused += 1
            except BaseException:  # noqa: BLE001
                return fail(i, data)
    if watch.events and kind == "pytorch":  # NumPy compiles the headers of .npz
        print(watch.events[:10], file=sys.stderr)
        return 1
    result = {"loaded": loaded, "refused": refused, "peak_mib": peak() >> 20}
    print(json.dumps(result | {"seconds": round(time.monotonic() - began, 1)}))
    return 0


class Watch:
    """Records what Python says it is about to do, where a file should be only read."""

    HARMLESS = ("open", "builtins.id", "object.__getattr__")

    def __init__(self) -> None:
        self.events: list[str] = []
        self._on = False
        codecs.lookup("cp437")  # names of entries; imported at the first call
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        writes = event == "open" and arguments[1] not in (None, "r", "rb")
        if writes or not event.startswith(self.HARMLESS):
            self.events.append(f"{event} {arguments!r:.200}")

    def __enter__(self) -> None:
        self._on = True

    def __exit__(self, *error: object) -> None:
        self._on = False


def check(value: Any) -> None:
    """Use every array that was read, as its owner would."""
    if isinstance(value, mx.array):
        assert value.size < 2**24
        if value.size > 0:  # (2**31 - 1, 0) would be a list of as many lists
            value.tolist()
    elif isinstance(value, dict):
        for entry in value.values():
            check(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            check(entry)


def set_deadline() -> None:
    """End the process if it takes too long from here: their default action does."""
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    signal.alarm(MOST_WAITING)


def limit_memory() -> None:
    """Let the address space grow by `MOST_BYTES`, and no more."""
    if STATUS.exists():  # not on a Mac, whose kernel ignores the limit too
        resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + MOST_BYTES,) * 2)


def peak() -> int:
    """The most memory that this process had, in bytes."""
    if STATUS.exists():  # the other counts the process that started this one, too
        return status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def status(name: str) -> int:
    match = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    assert match is not None
    return int(match[1]) * 1024


def fail(i: int, data: bytes) -> int:
    traceback.print_exc()
    print(f"file {i}, {len(data)} bytes: {data[:2000].hex()}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
