"""Memory of one contender of another benchmark, in a process of its own.

    python examples/benchmark_memory.py dense lucid cpu       # of benchmark_conv3d.py
    python examples/benchmark_memory.py nnunet-32 torch cpu   # of benchmark_training.py

It is resident memory, of all libraries together; MLX's own counter only counts MLX's.
Each contender first computes something tiny, so that what its libraries set up once is
not counted. Nor are a convolution's inputs and a network's weights and batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import ctypes
import gc
import json
import os
from pathlib import Path
import resource
import subprocess
import sys
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

from benchmark_contenders import CONTENDERS, problem
from benchmark_networks import NETWORKS
from benchmark_shapes import SETS
import mlx.core as mx

STATUS = Path("/proc/self/status")  # Linux


def peaks(
    name: str, contenders: Sequence[str], device: str
) -> dict[str, dict[str, float]]:
    """MiB that a shape or a network takes each contender, by what is done."""
    grown = {}
    for who in contenders:
        command = [sys.executable, __file__, name, who, device]
        # The last line: a library may print something of its own.
        printed = subprocess.check_output(command, text=True).splitlines()[-1]
        grown[who] = json.loads(printed)
    return {
        direction: {who: of[direction] for who, of in grown.items()}
        for direction in grown[contenders[0]]
    }


def measure(name: str, contender: str, device: str) -> dict[str, float]:
    """What one contender takes, in this process."""
    runs = network_runs if name in NETWORKS else convolution_runs
    for run in runs(name, contender, device, tiny=True).values():
        run()
    growth = {}
    real = runs(name, contender, device, tiny=False)
    before = _settle()
    for direction, run in real.items():
        run()
        growth[direction] = max(_peak() - before, resource.getpagesize()) / 2**20
    return growth


def convolution_runs(
    name: str, contender: str, device: str, tiny: bool
) -> Mapping[str, Callable[[], Any]]:
    case = SETS["all"][name]
    if tiny:
        channels = (case.weight[1] * case.groups, *case.weight[2:])
        case = case._replace(input=(1, *channels))
    pair = CONTENDERS[contender](case, problem(case), device)
    return dict(zip(("forward", "forward+backward"), pair, strict=True))


def network_runs(
    name: str, contender: str, device: str, tiny: bool
) -> Mapping[str, Callable[[], Any]]:
    # It imports this file.
    from benchmark_training import trainers

    network = NETWORKS[name]
    if tiny:
        network = network._replace(shape=(1, 1, 8, 8, 8))
    step = trainers(network, device, [contender])[contender].step

    def steps() -> None:
        for _ in range(2):  # the first makes the optimizer's state
            step()

    return {"training step": steps}


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
    names = [*SETS["all"], *NETWORKS]
    parser.add_argument("name", choices=names, metavar="NAME", help="shape or network")
    parser.add_argument("contender", help="as the benchmark names it")
    parser.add_argument("device", choices=("cpu", "gpu"))
    asked = parser.parse_args()
    with mx.stream(getattr(mx, asked.device)):
        print(json.dumps(measure(asked.name, asked.contender, asked.device)))
