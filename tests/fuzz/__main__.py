"""`python -m tests.fuzz SEED START STOP`: make these calls, say what came of them."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import warnings

import lucid

from tests.fuzz import calls, runner
from tests.fuzz.verdict import Verdict, judged

MEMORY = 8 * 2**30
SECONDS = 60  # of one call; a signal that nobody handles ends the process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("start", type=int)
    parser.add_argument("stop", type=int)
    parser.add_argument("--child", action="store_true", help="in this process")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    if given.child:
        make_calls(given.seed, given.start, given.stop)
    else:
        count = given.stop - given.start
        report = runner.run(given.seed, count, given.workers, given.start)
        sys.stdout.write(f"{report}\n")


def make_calls(seed: int, start: int, stop: int) -> None:
    """Print each call before it is made, and then what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    os.environ["LUCID_CACHE"] = "0"
    for number in range(start, stop):
        call = calls.make(seed, number)
        print(number, call, flush=True)
        signal.alarm(SECONDS)
        try:
            verdict = judged(call)
        except Exception as error:  # noqa: BLE001 - of a look at what was left
            verdict = Verdict(fault=f"cannot be looked at: {error!r}")
        signal.alarm(0)
        lucid.autotune(False)
        told = {
            "call": str(call),
            "target": call.target.name,
            "accepted": verdict.accepted,
            "fault": verdict.fault,
        }
        print(json.dumps(told), flush=True)
    print("finished", flush=True)


if __name__ == "__main__":
    main()
