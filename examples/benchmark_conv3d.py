"""Time `F.conv3d` against `mx.conv3d` and, where they are installed, PyTorch and JAX.

    python examples/benchmark_conv3d.py                         # the README's table
    python examples/benchmark_conv3d.py --shapes unet mode-reflect --repeats 15
    python examples/benchmark_conv3d.py --shapes table unet --autotune
    python examples/benchmark_conv3d.py --shapes all --allocator both --memory \\
        --json times.json --png times.png

The contenders' outputs and gradients are compared first, and where they differ nothing
is timed. Then they take turns, so that a busy moment of the machine hits all of them,
and the medians are printed. `benchmark_training.py` times whole networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import importlib.util
import json
import os
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

import lucid  # noqa: F401  # before mlx, to bring it a fast BLAS on Linux

# isort: split
from benchmark_contenders import (
    CONTENDERS,
    TOLERANCES,
    DisagreementError,
    check_agreement,
    problem,
)
from benchmark_memory import peaks
from benchmark_report import (
    geometric_means,
    machine,
    print_report,
    rows_of,
    save_picture,
)
from benchmark_shapes import SETS, Case, select
import mlx.core as mx

DIRECTIONS = ("forward", "forward+backward")
COMPARED = ("output", "input's gradient", "weight's gradient", "bias's gradient")
SAMPLE_MS = 2.0  # calls that take less are timed several at once
ALLOCATORS = {"tuned": "auto", "stock": "0"}  # LUCID_MALLOC, which `import lucid` reads
# Seconds that OpenMP's threads wait for more to do, on cores that the next one wants.
SPINNING = 0.25


def interleaved(
    runs: dict[str, Callable[[], Any]], repeats: int, calls: int = 1
) -> dict[str, list[float]]:
    """Milliseconds a call of each run, one sample of each in every round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            if len(runs) > 1:  # as if it were alone
                time.sleep(SPINNING)
                run()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            times[name].append(1000 * (time.perf_counter() - start) / calls)
    return times


def timed(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """The same, with as many calls a sample as the clock needs."""
    slowest = max(ms for (ms,) in interleaved(runs, 1).values())
    return interleaved(runs, repeats, calls=1 + int(SAMPLE_MS / slowest))


def measure(
    case: Case, contenders: Sequence[str], device: str, repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Times by direction and contender, once all contenders agree."""
    arrays = problem(case)
    pairs = {name: CONTENDERS[name](case, arrays, device) for name in contenders}
    directions = {
        direction: {name: pair[i] for name, pair in pairs.items()}
        for i, direction in enumerate(DIRECTIONS)
    }
    for runs in directions.values():
        results = {name: run() for name, run in runs.items()}
        check_agreement(results, COMPARED, TOLERANCES[case.dtype])
    return {direction: timed(runs, repeats) for direction, runs in directions.items()}


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, under the allocator that this process has."""
    times, memory = {}, {}
    for name, case in select(options.shapes).items():
        print(f"{name}, allocator {allocator()}", file=sys.stderr)
        times[name] = measure(case, options.contenders, options.device, options.repeats)
        if options.memory:
            memory[name] = peaks(name, options.contenders, options.device)
    return results_of(times) | ({"peak_mib": memory} if memory else {})


def results_of(times: dict[str, dict[str, dict[str, list[float]]]]) -> dict[str, Any]:
    """Times by shape, direction and contender; medians; mean ratios to lucid."""
    medians = {
        name: {
            direction: {who: statistics.median(ms) for who, ms in runs.items()}
            for direction, runs in directions.items()
        }
        for name, directions in times.items()
    }
    means = {
        direction: geometric_means(rows_of(medians, direction))
        for direction in next(iter(medians.values()))
    }
    return {"medians_ms": medians, "geometric_means": means, "times_ms": times}


def allocator() -> str:
    """Which setting `import lucid` has put in force in this process."""
    off = os.environ.get("LUCID_MALLOC", "").lower() in ("0", "off", "none")
    return "stock" if off or sys.platform != "linux" else "tuned"


def rerun(script: str, setting: str, options: argparse.Namespace) -> dict[str, Any]:
    """The results of a new process under another allocator setting."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "report.json")
        command = [sys.executable, script, "--allocator", setting, "--json", str(file)]
        for name in ("shapes", "contenders", "networks", "device", "repeats"):
            if hasattr(options, name):
                value = getattr(options, name)
                values = value if isinstance(value, list) else [value]
                command += [f"--{name}", *map(str, values)]
        if options.memory:
            command.append("--memory")
        environment = os.environ | {"LUCID_MALLOC": ALLOCATORS[setting]}
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(done.returncode)  # it has said why
        return json.loads(file.read_text())["allocators"][setting]


def settings(options: argparse.Namespace) -> list[str]:
    """The allocator settings to run under."""
    return list(ALLOCATORS) if options.allocator == "both" else [options.allocator]


def common_parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = command_line.Parser(description=description)
    add = parser.add_argument
    add("--repeats", type=command_line.whole(1), default=7, help="rounds (default: 7)")
    add("--device", choices=("cpu", "gpu"), help="default: MLX's")
    add(
        "--allocator",
        choices=(*ALLOCATORS, "both"),
        help="Linux: large buffers kept (tuned) or not (stock, LUCID_MALLOC=0)",
    )
    add("--quick", action="store_true", help="one round, of the first case")
    add("--memory", action="store_true", help="also peak memory, in separate processes")
    add("--json", type=Path, metavar="FILE", help="write all times")
    add("--png", type=Path, metavar="FILE", help="draw the ratios (needs matplotlib)")
    return parser


def check_options(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> argparse.Namespace:
    """Fill in the defaults; end the program over what this machine cannot do."""
    if options.quick:
        options.repeats = 1
    options.device = options.device or mx.default_device().type.name
    options.allocator = options.allocator or allocator()
    if not mx.is_available(getattr(mx, options.device)):
        parser.error(f"--device {options.device}: this machine has none")
    if sys.platform != "linux" and options.allocator != "stock":
        parser.error("--allocator: there is a choice on Linux only")
    if options.png and importlib.util.find_spec("matplotlib") is None:
        parser.error("--png needs matplotlib")
    return options


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = common_parser("Time 3-D convolution.")
    parser.add_argument(
        "--shapes",
        nargs="+",
        metavar="NAME",
        help=f"sets ({', '.join(SETS)}) or single shapes; default: table",
    )
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS)
    parser.add_argument(
        "--autotune",
        action="store_true",
        help="also time what lucid.autotune chooses",
    )
    options = check_options(parser, parser.parse_args(arguments))
    if options.quick and options.shapes is None:
        options.shapes = list(SETS["table"])[:1]
    options.shapes = options.shapes or ["table"]
    options.contenders = contenders(options)
    try:
        select(options.shapes)
    except ValueError as error:
        parser.error(str(error))
    return options


def contenders(options: argparse.Namespace) -> list[str]:
    """Lucid first; autotuned only where it is asked for, and then alone beside it."""
    chosen = options.contenders
    if chosen is None:
        chosen = [n for n in CONTENDERS if n != "autotuned" and not options.autotune]
    chosen = ["lucid", *(["autotuned"] if options.autotune else []), *chosen]
    return list(dict.fromkeys(chosen))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        with mx.stream(getattr(mx, options.device)):
            results = {
                setting: measure_all(options)
                if setting == allocator()
                else rerun(__file__, setting, options)
                for setting in settings(options)
            }
    except DisagreementError as error:
        print(f"benchmark_conv3d: {error}", file=sys.stderr)
        print("--contenders chooses who takes part.", file=sys.stderr)
        return 1
    cases = {name: case._asdict() for name, case in select(options.shapes).items()}
    publish({"allocators": results, "shapes": cases}, options, options.contenders)
    return 0


def publish(
    report: dict[str, Any], options: argparse.Namespace, contenders: Sequence[str]
) -> None:
    """Print a report with its machine, and write the files that were asked for."""
    report = {"machine": machine(options.device, contenders), **report}
    print_report(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.png:
        save_picture(report, options.png)


if __name__ == "__main__":
    command_line.run(main)
