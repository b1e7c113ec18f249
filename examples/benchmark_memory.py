"""How much a contender of `benchmark_conv3d.py` makes a process of its own grow.

    python examples/benchmark_memory.py dense lucid cpu

Resident memory, which counts whatever library asked for it; MLX's own counter sees MLX
alone. Each contender first computes a tiny convolution, so that what its libraries set
up once is not counted, nor are the inputs.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
from pathlib import Path
import resource
import subprocess
import sys

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

from benchmark_contenders import CONTENDERS, problem
from benchmark_shapes import SETS
import mlx.core as mx

STATUS = Path("/proc/self/status")  # Linux


def peak_memory(shape: str, contender: str, device: str) -> dict[str, float]:
    """MiB above the inputs, forward and forward+backward, in a new process."""
    command = [sys.executable, __file__, shape, contender, device]
    # The last line: a library may print something of its own.
    return json.loads(subprocess.check_output(command, text=True).splitlines()[-1])


def measure(shape: str, contender: str, device: str) -> dict[str, float]:
    """The same, in this process."""
    case, make = SETS["all"][shape], CONTENDERS[contender]
    channels = (case.weight[1] * case.groups, *case.weight[2:])
    tiny = case._replace(input=(1, *channels))
    for run in make(tiny, problem(tiny), device):
        run()
    runs = make(case, problem(case), device)
    before = _settle()
    growth = {}
    for direction, run in zip(("forward", "forward+backward"), runs, strict=True):
        run()
        growth[direction] = max(_peak() - before, resource.getpagesize()) / 2**20
    return growth


def _settle() -> int:
    """Give back what is free, forget the peak so far; the bytes now resident."""
    gc.collect()
    mx.clear_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")
    return _resident()


def _resident() -> int:
    """The bytes resident now."""
    if STATUS.exists():
        return _status("VmRSS")
    return 1024 * int(
        subprocess.check_output(["ps", "-o", "rss=", "-p", str(os.getpid())])
    )


def _peak() -> int:
    """The most bytes that were resident at once.

    Linux has getrusage count the parent's memory at the fork too; `VmHWM` is this
    program's own.
    """
    if STATUS.exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _status(field: str) -> int:
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


if __name__ == "__main__":
    about = (__doc__ or "").splitlines()[0]
    parser = command_line.Parser(prog="benchmark_memory", description=about)
    parser.add_argument("shape", choices=SETS["all"], metavar="SHAPE")
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("device", choices=("cpu", "gpu"))
    asked = parser.parse_args()
    with mx.stream(getattr(mx, asked.device)):
        print(json.dumps(measure(asked.shape, asked.contender, asked.device)))
