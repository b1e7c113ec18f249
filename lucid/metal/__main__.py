"""Check and time Lucid's Metal kernels on this Mac: `python -m lucid.metal`.

Every kernel is compiled, and compared with its twin made of MLX operations, in every
dtype; whole convolutions on the GPU are compared with the same on the CPU; then the
kernels are timed, beside MLX's operations and PyTorch's. `--tune` has `lucid.autotune`
measure the convolutions of the benchmark. What it prints can be pasted into a report.
The exit code is 0 if everything agrees, 1 if something does not, 2 if there is no Metal
here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
import math
import sys
from typing import TypeVar

from lucid import _device, choice
from lucid._types import dtype_name
from lucid.metal import beside_torch
from lucid.metal.check import (
    KERNEL_CASES,
    PATH_CASES,
    Case,
    Comparison,
    Row,
    comparisons,
    kernel_rows,
    path_rows,
)
from lucid.metal.check_layers import (
    LAYER_CASES,
    LayerCase,
    layer_comparisons,
    layer_rows,
)
from lucid.metal.compiling import compile_all
from lucid.metal.guard import machine
from lucid.metal.peak import Peak, measured_peak
from lucid.metal.shapes import BENCHMARK
from lucid.metal.timing import TIMED_CASES, header, time_rows
from lucid.metal.timing_layers import TIMED_LAYERS, layer_time_rows
from lucid.tuning import autotune, store
import mlx.core as mx

NO_METAL = (
    "There is no Metal here, so nothing was run; the tests run every kernel in an "
    "emulator: pytest tests/metal"
)
C = TypeVar("C", Case, LayerCase)

SWITCHED_OFF = "LUCID_METAL=0 switches the kernels off; unset it to check them."


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    if not _device.has_metal():
        print(NO_METAL)
        return 2
    if not _device.uses_metal():
        print(SWITCHED_OFF)
        return 2
    torch = beside_torch.device()
    print(machine() + (f", PyTorch {beside_torch.version()}" if torch else ""))
    cases, paths = _few(KERNEL_CASES, options), _few(PATH_CASES, options)
    layers = _few(LAYER_CASES, options)
    with _device.running_on("gpu"):
        _print_lines(_compiling([*comparisons(cases), *layer_comparisons(layers)]))
        agree = _print_rows("kernel, against its twin", kernel_rows(cases))
        agree &= _print_rows("kernel, against its twin", layer_rows(layers))
        agree &= _print_rows("path, against the CPU", path_rows(paths))
        if not options.no_timings:
            _print_lines(_timings(_few(TIMED_CASES, options), torch, options))
        if options.tune:
            _print_lines(_tuning(_few(BENCHMARK, options)))
    print()
    print("all agree" if agree else "SOMETHING DISAGREES: please report this output")
    return 0 if agree else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lucid.metal", description="Check and time Lucid's kernels."
    )
    add = parser.add_argument
    add("--repeats", type=int, default=10, help="repeats of each timing (default: 10)")
    add(
        "--launches",
        type=int,
        default=20,
        help="launches in an evaluation (default: 20)",
    )
    add("--no-timings", action="store_true", help="only check agreement")
    add("--quick", action="store_true", help="only two cases of each table")
    add(
        "--tune",
        action="store_true",
        help="let autotune measure the benchmark's convolutions",
    )
    options = parser.parse_args(arguments)
    for name in ("repeats", "launches"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def _few(cases: dict[str, C], options: argparse.Namespace) -> dict[str, C]:
    return dict(list(cases.items())[: 2 if options.quick else None])


def _print_lines(lines: Iterable[str]) -> None:
    print()
    for line in lines:
        print(line, flush=True)


def _print_rows(title: str, rows: Iterable[Row]) -> bool:
    """Errors as parts of the largest value; whether all are small enough."""
    print()
    print(f"{title:24} {'case':26} {'float32':>9} {'float16':>9} {'bfloat16':>9}")
    agree = True
    for row in rows:
        errors = " ".join(f"{error:>9}" for error in row.errors)
        verdict = "" if row.agrees else "  DISAGREES"
        print(f"{row.what:24} {row.case:26} {errors}{verdict}", flush=True)
        agree &= row.agrees
    return agree


def _compiling(every: Iterable[Comparison]) -> Iterator[str]:
    """What the first uses took, and what the compiler said."""
    yield f"{'compiled':24} {'uses':>6} {'ms':>9} {'slowest':>9}"
    for name, compiled in compile_all(every).items():
        ms = compiled.milliseconds
        yield f"{name:24} {len(ms):6} {sum(ms):9.1f} {max(ms, default=0.0):9.1f}"
        yield from (f"  FAILED: {message}" for message in compiled.messages)


def _timings(
    cases: dict[str, Case], torch: str | None, options: argparse.Namespace
) -> Iterator[str]:
    try:
        peak = measured_peak(options.repeats)
    except Exception as error:  # noqa: BLE001  what Metal's compiler says
        yield f"no peak: {error}"
        peak = Peak(math.nan, math.nan)
    yield (
        f"milliseconds a launch, {options.launches} an evaluation, medians of "
        f"{options.repeats}; a copy moves {peak.bytes / 1e9:.1f} GB/s, "
        f"{2e-12 * peak.multiply_adds:.2f} TFLOP/s of multiply-adds in float32"
    )
    yield header(torch)
    yield from time_rows(cases, peak, options.repeats, options.launches, torch)
    layers = dict(list(TIMED_LAYERS.items())[: 2 if options.quick else None])
    yield from layer_time_rows(layers, peak, options.repeats, options.launches)


def _tuning(cases: dict[str, Case]) -> Iterator[str]:
    """The choice for each case, as it is kept."""
    yield f"measured for lucid.autotune; kept in {store.path() or 'no file'}"
    with autotune(True):
        for name, case in cases.items():
            for dtype in (mx.float32, mx.float16):
                chosen = choice.choose(case.geometry, dtype)
                yield f"{name}, {dtype_name(dtype)}"
                for what, pick in chosen.passes.items():
                    yield f"  {what}: {pick.formulation.name}; {pick.reason}"


if __name__ == "__main__":
    sys.exit(main())
