"""Time layers, forward and backward, in Lucid, PyTorch and `mlx.nn`.

    python examples/benchmark_layers.py                         # all of them
    python examples/benchmark_layers.py --layers trilinear-x2 max-pool --repeats 21
    python examples/benchmark_layers.py --quick --json times.json

Outputs and gradients are compared first, and where they differ nothing is timed. Then
the contenders take turns. The times are lower quartiles, which other load on the
machine disturbs least. Ratios are Lucid's time over the other's: below 1, Lucid is
faster. Times of `mlx.nn` include its transposes from and to channels-first. Memory is
Lucid's peak without its input, in copies of the input.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import importlib
import importlib.util
import json
import os
from pathlib import Path
import statistics
import sys
from typing import Any

# PyTorch's threads fall asleep while the others' turns last, unless they spin longer.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

from benchmark_contenders import DisagreementError, check_agreement, torch_device
from benchmark_conv3d import timed
from benchmark_layer_cases import CASES, Case, Function
from benchmark_report import machine
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np

TOLERANCE = 2e-4  # of the largest value; sums of up to 96^3 float32 numbers


def arrays_of(case: Case) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What has a gradient, and what has none."""
    rng = np.random.default_rng(0)
    drawn = [rng.standard_normal(shape, np.float32) for shape in case.shapes]
    if not case.classes:
        return drawn, []
    n, _, *size = case.shapes[0]
    return drawn, [rng.integers(0, case.classes, (n, *size))]


def mlx_run(
    function: Function, case: Case, cotangent: np.ndarray | None = None
) -> Callable[[], list[mx.array]]:
    """The output and the gradients, computed to the end."""
    drawn, constant = arrays_of(case)
    arrays, rest = list(map(mx.array, drawn)), list(map(mx.array, constant))
    dy = None if cotangent is None else mx.array(cotangent)
    mx.eval(arrays, rest)

    def run() -> list[mx.array]:
        def of(*arrays: mx.array) -> mx.array:
            return function(*arrays, *rest)

        (y,), gradients = mx.vjp(of, arrays, [mx.ones(()) if dy is None else dy])
        mx.eval(y, gradients)
        return [y, *gradients]

    return run


def torch_run(
    case: Case, device: str, cotangent: np.ndarray | None = None
) -> Callable[[], list[Any]]:
    torch = importlib.import_module("torch")
    torch.set_num_threads(os.cpu_count())
    where = torch_device(device)
    drawn, constant = arrays_of(case)
    arrays = [torch.from_numpy(a).to(where).requires_grad_() for a in drawn]
    rest = [torch.from_numpy(a).to(where) for a in constant]
    dy = None if cotangent is None else torch.from_numpy(cotangent).to(where)

    def run() -> list[Any]:
        y = case.call(torch.nn.functional, *arrays, *rest)
        gradients = torch.autograd.grad(y, arrays, dy)
        if where != "cpu":
            getattr(torch, where).synchronize()
        return [y.detach(), *gradients]

    return run


def measure(case: Case, device: str, repeats: int) -> dict[str, float]:
    """Lower quartiles in ms by contender, once all agree; and Lucid's copies."""

    def ours(*arrays: Any) -> Any:
        return case.call(F, *arrays)

    drawn, constant = arrays_of(case)
    y = ours(*map(mx.array, (*drawn, *constant)))
    shape = y.shape
    rng = np.random.default_rng(1)
    cotangent = rng.standard_normal(shape, np.float32) if shape else None
    runs: dict[str, Callable[[], Any]] = {"lucid": mlx_run(ours, case, cotangent)}
    if importlib.util.find_spec("torch"):
        runs["torch"] = torch_run(case, device, cotangent)
    if case.in_mlx is not None:
        runs["mlx.nn"] = mlx_run(case.in_mlx, case, cotangent)
    results = {name: run() for name, run in runs.items()}
    names = ["output", *(f"gradient {i}" for i in range(len(case.shapes)))]
    check_agreement(results, names, TOLERANCE)
    del results
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    runs["lucid"]()
    copies = (mx.get_peak_memory() - before) / drawn[0].nbytes
    times = timed(runs, repeats)
    quartiles = {name: float(np.quantile(ms, 0.25)) for name, ms in times.items()}
    return quartiles | {"copies": copies}


HEADS = ("layer", "lucid ms", "/ PyTorch", "goal", "", "/ mlx.nn", "copies")


def row(name: str, case: Case, measured: dict[str, float]) -> tuple[str, ...]:
    """A line of the table; a mark where the goal is missed."""

    def ratio(other: str) -> str:
        if other not in measured:
            return "-"
        return f"{measured['lucid'] / measured[other]:.2f}"

    missed = "torch" in measured and measured["lucid"] > case.goal * measured["torch"]
    return (
        *(name, f"{measured['lucid']:.2f}", ratio("torch"), f"{case.goal:.1f}"),
        *("missed" if missed else "", ratio("mlx.nn"), f"{measured['copies']:.1f}"),
    )


def print_table(results: dict[str, dict[str, float]]) -> None:
    lines = [HEADS, *(row(name, CASES[name], of) for name, of in results.items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for cells in lines:
        padded = (
            cell.rjust(width) if 0 < i != 4 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        print("  ".join(padded).rstrip())
    for other in ("torch", "mlx.nn"):
        ratios = [of["lucid"] / of[other] for of in results.values() if other in of]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            print(f"geometric mean of the ratios to {other}: {mean:.2f}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line.Parser(description="Time layers, forward and backward.")
    add = parser.add_argument
    add("--layers", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    add(
        "--repeats", type=command_line.whole(1), default=11, help="rounds (default: 11)"
    )
    add("--device", choices=("cpu", "gpu"), help="default: MLX's")
    add("--quick", action="store_true", help="one round, to see that all agree")
    add("--json", type=Path, metavar="FILE", help="write the times")
    options = parser.parse_args(arguments)
    options.repeats = 1 if options.quick else options.repeats
    options.device = options.device or mx.default_device().type.name
    if not mx.is_available(getattr(mx, options.device)):
        parser.error(f"--device {options.device}: this machine has none")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    results = {}
    with mx.stream(getattr(mx, options.device)):
        for name in options.layers:
            print(name, file=sys.stderr)
            try:
                results[name] = measure(CASES[name], options.device, options.repeats)
            except DisagreementError as error:
                print(f"benchmark_layers: {name}: {error}", file=sys.stderr)
                return 1
    print_table(results)
    if options.json:
        contenders = sorted({who for of in results.values() for who in of})
        about = machine(options.device, contenders)
        report = {"machine": about, "quartiles_ms": results}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    command_line.run(main)
