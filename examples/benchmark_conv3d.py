"""Time `F.conv3d` against `mx.conv3d` and, where it is installed, PyTorch on the CPU.

    python examples/benchmark_conv3d.py --repeats 9 --json times.json

Every contender takes and gives PyTorch's layout, (N, C, D, H, W), in float32. Their
outputs and gradients are compared first; then they take turns, so that a busy moment of
the machine hits all of them, and the medians are printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import importlib
import importlib.metadata
import importlib.util
import json
import os
from pathlib import Path
import platform
import statistics
import time
from typing import Any, NamedTuple

import lucid
from lucid import _cpu
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np

TOLERANCE = 1e-4  # of the largest value; float32 sums of 27 * 64 products stay below


class DisagreementError(RuntimeError):
    """Two contenders computed different things, so that their times mean nothing."""


class Case(NamedTuple):
    """A convolution: its shapes, (N, C, D, H, W) and (O, C / groups, KD, KH, KW)."""

    input: tuple[int, ...]
    weight: tuple[int, ...]
    options: dict[str, Any]


SHAPES = {
    "four-channels": Case((2, 4, 16, 32, 32), (32, 4, 3, 3, 3), {"padding": 1}),
    "one-channel": Case((1, 1, 32, 64, 64), (16, 1, 3, 3, 3), {"padding": 1}),
    "dense": Case((2, 32, 16, 32, 32), (64, 32, 3, 3, 3), {"padding": 1}),
    "strided": Case(
        (1, 64, 16, 16, 16), (128, 64, 3, 3, 3), {"stride": 2, "padding": 1}
    ),
    "dilated": Case(
        (1, 16, 16, 24, 24), (32, 16, 3, 3, 3), {"dilation": 2, "padding": 2}
    ),
    "pointwise": Case((2, 32, 16, 32, 32), (64, 32, 1, 1, 1), {}),
    "grouped": Case((1, 32, 16, 24, 24), (64, 8, 3, 3, 3), {"groups": 4, "padding": 1}),
    "depthwise": Case(
        (1, 32, 16, 32, 32), (32, 1, 3, 3, 3), {"groups": 32, "padding": 1}
    ),
}

# What a contender gives: a forward pass, and one with the gradients of input, weight
# and bias. Each computes to the end and returns its arrays.
Run = Callable[[], Sequence[Any]]
Contender = Callable[[Case, Sequence[np.ndarray]], tuple[Run, Run]]


def lucid_contender(case: Case, arrays: Sequence[np.ndarray]) -> tuple[Run, Run]:
    return _mlx_runs(lambda x, w, b: F.conv3d(x, w, b, **case.options), arrays)


def mlx_contender(case: Case, arrays: Sequence[np.ndarray]) -> tuple[Run, Run]:
    """What a user of `mx.conv3d` writes: channels last, one group at a time.

    The result stays a transposed view, which the next layer would take as it is.
    """
    options = dict(case.options)
    groups = options.pop("groups", 1)

    def conv(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
        x, w = (a.transpose(0, 2, 3, 4, 1) for a in (x, w))
        parts = zip(mx.split(x, groups, axis=-1), mx.split(w, groups), strict=True)
        outputs = [mx.conv3d(part, kernel, **options) for part, kernel in parts]
        y = outputs[0] if groups == 1 else mx.concatenate(outputs, axis=-1)
        return (y + b).transpose(0, 4, 1, 2, 3)

    return _mlx_runs(conv, arrays)


def _mlx_runs(
    conv: Callable[..., mx.array], arrays: Sequence[np.ndarray]
) -> tuple[Run, Run]:
    *inputs, cotangent = map(mx.array, arrays)

    def forward() -> list[mx.array]:
        y = conv(*inputs)
        mx.eval(y)
        return [y]

    def forward_backward() -> list[mx.array]:
        outputs, gradients = mx.vjp(lambda *a: [conv(*a)], inputs, [cotangent])
        mx.eval(outputs, gradients)
        return [*outputs, *gradients]

    return forward, forward_backward


def torch_contender(case: Case, arrays: Sequence[np.ndarray]) -> tuple[Run, Run]:
    torch = importlib.import_module("torch")
    torch.set_num_threads(os.cpu_count())
    *inputs, cotangent = (torch.from_numpy(array) for array in arrays)
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    conv = torch.nn.functional.conv3d

    def forward() -> list[Any]:
        return [conv(*inputs, **case.options)]

    def forward_backward() -> list[Any]:
        y = conv(*leaves, **case.options)
        return [y.detach(), *torch.autograd.grad(y, leaves, cotangent)]

    return forward, forward_backward


CONTENDERS: dict[str, Contender] = {
    "lucid": lucid_contender,
    "mx.conv3d": mlx_contender,
}
if importlib.util.find_spec("torch"):
    CONTENDERS["torch (CPU)"] = torch_contender


def problem(case: Case) -> list[np.ndarray]:
    """Input, weight, bias, and a cotangent of the output's shape."""
    random = np.random.default_rng(0)
    shapes = (case.input, case.weight, case.weight[:1])
    x, w, b = (random.standard_normal(shape, np.float32) for shape in shapes)
    output = F.conv3d(mx.array(x), mx.array(w), **case.options).shape
    return [x, w, b, random.standard_normal(output, np.float32)]


def check_agreement(results: dict[str, Sequence[Any]]) -> None:
    """Compare everyone's output and gradients with those of the first.

    Raises:
        DisagreementError: naming the contender and what differs.
    """
    (first, reference), *others = results.items()
    names = ("output", "input's gradient", "weight's gradient", "bias's gradient")
    for contender, arrays in others:
        for i, (want, got) in enumerate(zip(reference, arrays, strict=True)):
            a, b = np.asarray(want), np.asarray(got)
            off = (
                np.abs(a - b).max() / np.abs(a).max() if a.shape == b.shape else np.inf
            )
            if not off <= TOLERANCE:  # a NaN disagrees too
                raise DisagreementError(
                    f"{contender} and {first} differ in the {names[i]} by {off:.1e} of "
                    f"its largest value, more than {TOLERANCE:.0e}."
                )


def interleaved(runs: dict[str, Run], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each run, one of each in every round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start))
    return times


def measure(case: Case, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Times by direction and contender, once all contenders agree."""
    arrays = problem(case)
    pairs = {name: make(case, arrays) for name, make in CONTENDERS.items()}
    times = {}
    for i, direction in enumerate(("forward", "forward+backward")):
        runs = {name: pair[i] for name, pair in pairs.items()}
        check_agreement({name: run() for name, run in runs.items()})  # and warm up
        times[direction] = interleaved(runs, repeats)
    return times


def table(medians: dict[str, dict[str, dict[str, float]]], direction: str) -> str:
    """One row for each shape: milliseconds, and how many times lucid's."""
    lines = [
        f"{direction}: median ms (times lucid's; above 1, lucid is faster)",
        " " * 14 + "".join(f"{name:>19}" for name in CONTENDERS),
    ]
    for name, directions in medians.items():
        ours = directions[direction]["lucid"]
        cells = (
            f"{ms:10.2f} ({ms / ours:6.2f})" for ms in directions[direction].values()
        )
        lines.append(f"{name:14}" + "".join(cells))
    return "\n".join(lines)


def machine(device: str) -> dict[str, Any]:
    """What the times depend on besides the code."""
    packages = ["mlx", "numpy", *(["torch"] if "torch (CPU)" in CONTENDERS else [])]
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "device": device,
        "blas": _cpu.blas,
        "versions": {"lucid": lucid.__version__, **versions},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time 3-D convolution.")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (7)")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, metavar="NAME")
    parser.add_argument("--device", choices=("cpu", "gpu"), help="MLX's default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times")
    parser.add_argument("--quick", action="store_true", help="one shape, one round")
    options = parser.parse_args(arguments)
    repeats = 1 if options.quick else options.repeats
    names = options.shapes or list(SHAPES)[: 1 if options.quick else None]
    device = options.device or mx.default_device().type.name
    if repeats < 1 or not mx.is_available(getattr(mx, device)):
        parser.error("--repeats must be positive and --device one this machine has")

    with mx.stream(getattr(mx, device)):
        times = {name: measure(SHAPES[name], repeats) for name in names}
    medians = {
        name: {
            direction: {who: statistics.median(ms) for who, ms in runs.items()}
            for direction, runs in directions.items()
        }
        for name, directions in times.items()
    }
    about = machine(device)
    print("\n".join(f"{key}: {value}" for key, value in about.items()), end="\n\n")
    print(table(medians, "forward"), table(medians, "forward+backward"), sep="\n\n")
    if options.json:
        report = {"machine": about, "medians_ms": medians, "times_ms": times}
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
