"""Check Lucid's Metal kernels on this Mac: `python -m lucid.metal`.

Every kernel is compared with its twin made of MLX operations, in every dtype; then
whole convolutions on the GPU with the same on the CPU; then the kernels are timed. What
it prints can be pasted into a bug report. The exit code is 0 if everything agrees, 1 if
something does not, 2 if there is no Metal here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from importlib.metadata import version
import platform
import sys

import lucid
from lucid import _device
from lucid.metal.check import KERNEL_CASES, PATH_CASES, Row, kernel_rows, path_rows
from lucid.metal.timing import HEADER, TIMED_CASES, time_rows
import mlx.core as mx

NO_METAL = (
    "There is no Metal here, so nothing was run; the tests run every kernel in an "
    "emulator: pytest tests/metal/test_conv.py tests/metal/test_padding.py"
)
SWITCHED_OFF = "LUCID_METAL=0 switches the kernels off; unset it to check them."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lucid.metal", description="Check Lucid's Metal kernels."
    )
    parser.add_argument("--repeats", type=int, default=10, help="of each timing (10)")
    parser.add_argument("--no-timings", action="store_true", help="agreement alone")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    if not _device.has_metal():
        print(NO_METAL)
        return 2
    if not _device.uses_metal():
        print(SWITCHED_OFF)
        return 2
    print(_machine(), end="\n\n")
    with _device.running_on("gpu"):
        agree = _print_rows("kernel, against its twin", kernel_rows(KERNEL_CASES))
        agree &= _print_rows("path, against the CPU", path_rows(PATH_CASES))
        if not options.no_timings:
            print(f"milliseconds, medians of {options.repeats}", HEADER, sep="\n")
            for line in time_rows(TIMED_CASES, options.repeats):
                print(line, flush=True)
            print()
    print("all agree" if agree else "SOMETHING DISAGREES: please report this output")
    return 0 if agree else 1


def _machine() -> str:
    """Chip, system and versions."""
    info = mx.device_info(mx.gpu) if mx.is_available(mx.gpu) else {}
    chip = info.get("device_name", platform.processor())
    return (
        f"{chip}, macOS {platform.mac_ver()[0]}, Python {platform.python_version()}, "
        f"MLX {version('mlx')}, Lucid {lucid.__version__}"
    )


def _print_rows(title: str, rows: Iterable[Row]) -> bool:
    """Errors as parts of the largest value; whether all are small enough."""
    print(f"{title:24} {'case':26} {'float32':>9} {'float16':>9} {'bfloat16':>9}")
    agree = True
    for row in rows:
        errors = " ".join(f"{error:>9}" for error in row.errors)
        verdict = "" if row.agrees else "  DISAGREES"
        print(f"{row.what:24} {row.case:26} {errors}{verdict}", flush=True)
        agree &= row.agrees
    print()
    return agree


if __name__ == "__main__":
    sys.exit(main())
