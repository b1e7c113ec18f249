"""Many calls in child processes, and which of them ended one."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
CHUNK = 2000  # calls a process: starting one takes a second
MOST_DEATHS = 10  # a process; then its other calls are given up


@dataclass
class Report:
    """What came of many calls.

    Attributes:
        accepted: how many calls of each target did something.
        refused: how many were refused as they should be.
        faults: by what is wrong, the first call that showed it.
    """

    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        return self.accepted.total() + self.refused.total() + len(self.faults)

    def add(self, other: Report) -> None:
        self.accepted += other.accepted
        self.refused += other.refused
        self.faults = other.faults | self.faults

    def __str__(self) -> str:
        never = sorted(self.refused.keys() - self.accepted.keys())
        lines = [
            f"{self.accepted.total()} accepted, {self.refused.total()} refused by "
            f"name, {len(self.faults)} kinds of faults",
            *(f"never accepted: {', '.join(never)}" for _ in never[:1]),
            *(f"{call}\n    {fault}" for fault, call in self.faults.items()),
        ]
        return "\n".join(lines)


def run(seed: int, count: int, workers: int = 1, start: int = 0) -> Report:
    """Calls `start` to `start + count` of this seed."""
    stop = start + count
    chunks = [(i, min(i + CHUNK, stop)) for i in range(start, stop, CHUNK)]
    report = Report()
    with ThreadPoolExecutor(workers) as pool:
        for part in pool.map(lambda chunk: _chunk(seed, *chunk), chunks):
            report.add(part)
    return report


def _chunk(seed: int, start: int, stop: int) -> Report:
    report = Report()
    for _ in range(MOST_DEATHS):
        end = _child(seed, start, stop, report)
        if not end.how:
            return report
        first = _first_needed(seed, start, end.number)
        again = f"python -m tests.fuzz --child {seed} {first} {end.number + 1}"
        report.faults[f"{end.how} ({again})"] = end.call
        start = end.number + 1
    return report


def _first_needed(seed: int, start: int, last: int) -> int:
    """The latest call from which on the process ends at `last` again."""
    before = 0
    while last - before > start:
        if _child(seed, last - before, last + 1, Report()).how:
            return last - before
        before = 2 * before + 1
    return start


class _End(NamedTuple):
    """The last call that was begun, and how the process died there, if it did."""

    number: int
    call: str
    how: str


def _child(seed: int, start: int, stop: int, report: Report) -> _End:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz", "--child"]
        done = subprocess.run(
            [*command, str(seed), str(start), str(stop)],
            cwd=folder,  # where the calls save their files
            env=environment,
            capture_output=True,
            check=False,
        )
    last = line = f"{start} not even begun"
    for line in done.stdout.decode(errors="replace").split("\n")[:-1]:
        if line.startswith("{"):
            _take(json.loads(line), report)
        elif line[:1].isdigit():
            last = line
    number, _, call = last.partition(" ")
    # MLX can print what is wrong and end the process with status 0.
    if line == "finished" and done.returncode == 0:
        return _End(int(number), call, "")
    words = done.stderr.decode(errors="replace").strip()[-2000:]
    return _End(int(number), call, f"exit status {done.returncode}: {words}")


def _take(line: dict[str, str], report: Report) -> None:
    if line["fault"]:
        report.faults.setdefault(f"{line['target']}: {line['fault']}", line["call"])
    elif line["accepted"]:
        report.accepted[line["target"]] += 1
    else:
        report.refused[line["target"]] += 1
