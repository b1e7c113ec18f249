"""Times that were measured on this machine, in memory and in a file.

The file is JSON in the user's cache folder, one for each machine, BLAS and version; it
is read once, before the first measurement, and written beside and renamed after each.
Whatever is wrong with it, or with the folder, it is as if it was not there.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import fcntl
import hashlib
import json
import math
import os
from pathlib import Path
import sys
import threading
from typing import Any

from lucid._cpu import OFF
from lucid.files.atomic import replacing
from lucid.tuning.machine import machine
from lucid.tuning.timing import Times
import mlx.core as mx
import numpy as np

VARIABLE = "LUCID_CACHE"
FORMAT = 1
LARGEST_FILE = 2**24  # some 20,000 geometries

Table = dict[str, dict[str, Times]]
"""Times by problem, then by pass."""

lock = threading.RLock()
_table: Table = {}  # what this process went by: measured, read, or taken over
_generation = 0
_file: Path | None = None  # the file that was read, and what was in it
_file_table: Table = {}


def get_autotune_state() -> mx.array:
    """What `lucid.autotune` has measured so far: bytes (of JSON) for a checkpoint.

    Resumed training gives the same numbers only if the same algorithms compute them:
    restore this state before the first step, on any machine.

    Example:
        >>> import lucid
        >>> lucid.set_autotune_state(lucid.get_autotune_state())
    """
    with lock:
        text = json.dumps({"format": FORMAT, "times": _table})
    return mx.array(np.frombuffer(text.encode(), np.uint8))


def set_autotune_state(new_state: mx.array) -> None:
    """Use what `get_autotune_state` returned instead of what was measured here.

    It is not written to the file in the cache folder.

    Raises:
        TypeError: if `new_state` is not what `get_autotune_state` returned.
    """
    table = None
    if isinstance(new_state, mx.array) and new_state.dtype == mx.uint8:
        table = _parsed(bytes(np.array(new_state)), of_this_machine=False)
    if table is None:
        raise TypeError("`new_state` must be what get_autotune_state returned.")
    global _generation
    with lock:
        _table.update(table)
        _generation += 1


def forget() -> None:
    """Forget what this process knows; the file stays, and is read again."""
    global _generation, _file
    with lock:
        _table.clear()
        _file_table.clear()
        _file = None
        _generation += 1


def generation() -> int:
    """Counts whenever known times were replaced, so that choices can be made anew."""
    return _generation


def look_up(problem: str, what: str) -> Times:
    """The times of a problem's pass; empty if it was never measured here."""
    with lock:
        known = _table.get(problem, {}).get(what)
        if known is None:
            known = _from_file().get(problem, {}).get(what, {})
            if known:
                _table.setdefault(problem, {})[what] = known
        return known


def keep(problem: str, what: str, times: Times) -> None:
    """Remember times, here and in the file."""
    with lock:
        _table.setdefault(problem, {})[what] = times
        _write(problem, what, times)


def path() -> Path | None:
    """The file of this machine; None if there is to be none.

    `LUCID_CACHE` names the folder, `0` for none; otherwise it is Lucid's in
    `XDG_CACHE_HOME`, `~/.cache` or, on a Mac, `~/Library/Caches`.
    """
    told = os.environ.get(VARIABLE, "")
    if told.lower() in OFF:
        return None
    digest = hashlib.blake2b(_line(machine()).encode(), digest_size=6).hexdigest()
    folder = Path(told) if told else _default_folder()
    return None if folder is None else folder / f"autotune-{digest}.json"


def _default_folder() -> Path | None:
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(xdg):
        return Path(xdg, "lucid")
    with contextlib.suppress(RuntimeError):  # there is no home
        mac = sys.platform == "darwin"
        return Path.home() / ("Library/Caches" if mac else ".cache") / "lucid"
    return None


def _from_file() -> Table:
    """The file's times, read once."""
    global _file, _file_table
    file = path()
    if file != _file:
        _file, _file_table = file, {} if file is None else _load(file)
    return _file_table


def _load(file: Path) -> Table:
    with contextlib.suppress(OSError, ValueError):
        if file.is_file() and file.stat().st_size <= LARGEST_FILE:
            return _parsed(file.read_bytes(), of_this_machine=True) or {}
    return {}


def _write(problem: str, what: str, times: Times) -> None:
    """Times, beside what the file has by now."""
    file = path()
    if file is None:
        return
    with contextlib.suppress(OSError):  # a folder that cannot be written
        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone(file):
            table = _load(file)
            table.setdefault(problem, {})[what] = times
            content = {"format": FORMAT, "machine": machine(), "times": table}
            with replacing(file) as stream:
                stream.write(json.dumps(content, indent=1).encode())


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """While this process alone changes the file, where the file system has locks."""
    with file.with_suffix(".lock").open("ab") as held:
        with contextlib.suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _parsed(content: bytes, of_this_machine: bool) -> Table | None:
    """The times in a file or a state, or None if it is anything else."""
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(read, dict) or read.get("format") != FORMAT:
        return None
    if of_this_machine and read.get("machine") != machine():
        return None
    table = read.get("times")
    return table if _is_table(table) else None


def _is_table(table: Any) -> bool:
    def is_time(value: Any) -> bool:
        return value is None or (
            type(value) in (int, float) and math.isfinite(value) and value >= 0
        )

    return isinstance(table, dict) and all(
        isinstance(passes, dict)
        and all(
            isinstance(times, dict) and all(map(is_time, times.values()))
            for times in passes.values()
        )
        for passes in table.values()
    )


def _line(about: dict[str, str]) -> str:
    return json.dumps(about, sort_keys=True)
