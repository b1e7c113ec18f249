"""What the benchmarks print and draw."""

from __future__ import annotations

from collections.abc import Sequence
import importlib
import importlib.metadata
import os
from pathlib import Path
import platform
import statistics
import subprocess
import sys
from typing import Any

from benchmark_contenders import jax_device, torch_device
import lucid

Rows = dict[str, dict[str, float]]  # by shape, then by contender

MEAN = "geometric mean"
LOAD_BEFORE = os.getloadavg()[0]  # of the last minute; later it is the benchmark's own
QUANTITIES = {"medians_ms": ("time", "ms"), "peak_mib": ("peak memory", "MiB")}
MARKS = {
    "mx.conv3d": ("#d95f02", "o"),
    "torch": ("#1b6ca8", "s"),
    "jax": ("#7a9a01", "^"),
    "lucid, compiled": ("#7b3294", "D"),
    "autotuned": ("#444444", "v"),
}


def machine(device: str, contenders: Sequence[str]) -> dict[str, Any]:
    """What the times depend on besides the code."""
    packages = ["mlx", "numpy"]
    packages += [name for name in ("torch", "jax") if name in contenders]
    about: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_before": LOAD_BEFORE,
        "python": platform.python_version(),
        "device": device,
        "blas": _blas(),
        "versions": {
            "lucid": lucid.__version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }
    if "torch" in contenders:
        about["torch_device"] = torch_device(device)
        about["torch_threads"] = importlib.import_module("torch").get_num_threads()
    if "jax" in contenders:
        about["jax_device"] = str(jax_device(device))
    return about


def _processor() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.check_output(command, text=True).strip()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _blas() -> str:
    """The library that MLX's matrix products come from, of those in this process.

    One loaded ahead of the reference BLAS of MLX's wheel takes its place; NumPy's and
    SciPy's own, whose names differ, do not.
    """
    if sys.platform != "linux":
        return "Accelerate" if sys.platform == "darwin" else "unknown"
    maps = Path("/proc/self/maps").read_text().splitlines()
    loaded = {Path(line.split()[-1]).name for line in maps if "/" in line}
    for prefix in ("libmkl_rt", "libopenblas", "libblas"):
        for name in sorted(loaded):
            if name.startswith(prefix):
                return name
    return "unknown"


def rows_of(by_shape: dict[str, dict[str, Any]], direction: str) -> Rows:
    return {name: values[direction] for name, values in by_shape.items()}


def geometric_means(rows: Rows) -> dict[str, float]:
    """Of each contender's ratio to lucid, over the shapes."""
    contenders = next(iter(rows.values()))
    return {
        who: statistics.geometric_mean(row[who] / row["lucid"] for row in rows.values())
        for who in contenders
        if who != "lucid"
    }


def table(title: str, rows: Rows) -> str:
    """One row for each shape, with the ratios to lucid; their means at the foot."""
    contenders = list(next(iter(rows.values())))
    width = max(map(len, [*rows, MEAN])) + 1
    heads = (f"{who:>{11 if who == 'lucid' else 20}}" for who in contenders)
    lines = [title, " " * width + "".join(heads)]
    for name, row in rows.items():
        cells = (
            f"{_short(value):>11}"
            + ("" if who == "lucid" else f" ({value / row['lucid']:6.2f})")
            for who, value in row.items()
        )
        lines.append(f"{name:{width}}" + "".join(cells))
    means = (f"{f'({mean:6.2f})':>20}" for mean in geometric_means(rows).values())
    lines.append(f"{MEAN:{width}}" + " " * 11 + "".join(means))
    return "\n".join(lines)


def _short(value: float) -> str:
    """Three digits or more, without an exponent."""
    digits = next(n for n, bound in enumerate((100, 10, 1, 0)) if value >= bound)
    return f"{value:.{digits}f}"


def print_report(report: dict[str, Any]) -> None:
    print("\n".join(f"{key}: {value}" for key, value in report["machine"].items()))
    for setting, results in report["allocators"].items():
        print(f"\nallocator: {setting}{_explained(setting)}")
        for direction in next(iter(results["medians_ms"].values())):
            title = f"{direction}, median ms (times lucid's; above 1, lucid is faster)"
            print("", table(title, rows_of(results["medians_ms"], direction)), sep="\n")
        for direction in next(iter(results.get("peak_mib", {"": {}}).values())):
            title = f"{direction}, peak MiB above the inputs (times lucid's)"
            print("", table(title, rows_of(results["peak_mib"], direction)), sep="\n")


def _explained(setting: str) -> str:
    if sys.platform != "linux":
        return " (the system's)"
    return {"tuned": " (large buffers kept)", "stock": " (LUCID_MALLOC=0)"}[setting]


def save_picture(report: dict[str, Any], path: Path) -> None:
    """Each contender's ratio to lucid, a row for each shape, a panel for each quantity.

    Filled marks are the first allocator setting, hollow ones the second.
    """
    from matplotlib.figure import Figure

    allocators = report["allocators"]
    first = next(iter(allocators.values()))
    quantities = [key for key in QUANTITIES if key in first]
    directions = list(next(iter(first["medians_ms"].values())))
    rows = len(first["medians_ms"])
    figure = Figure(
        figsize=(
            2.6 + 3.6 * len(directions),
            1.5 + (1.2 + 0.24 * rows) * len(quantities),
        ),
        layout="constrained",
    )
    grid = figure.subplots(len(quantities), len(directions), sharey=True, squeeze=False)
    for key, line in zip(quantities, grid, strict=True):
        quantity, unit = QUANTITIES[key]
        for direction, ax in zip(directions, line, strict=True):
            for i, (setting, results) in enumerate(allocators.items()):
                _draw(ax, rows_of(results[key], direction), setting, hollow=i > 0)
            _label_own(ax, rows_of(first[key], direction), unit)
            ax.set_title(f"{quantity}, {direction}", fontsize=10)
            ax.set_xlabel("times Lucid's (right of 1: Lucid is better)", fontsize=8)
            _style(ax, rows)
    _caption(figure, grid[0, 0], report)
    figure.savefig(path, dpi=120)


def _draw(ax: Any, rows: Rows, setting: str, hollow: bool) -> None:
    """One panel's points for one allocator setting."""
    means = geometric_means(rows)
    for who, mean in means.items():
        ratios = [row[who] / row["lucid"] for row in rows.values()]
        color, marker = MARKS[who]
        ax.plot(
            [*ratios, mean],
            range(len(rows) + 1),
            marker,
            color=color,
            markerfacecolor="none" if hollow else color,
            label=f"{who}, {setting} allocator",
        )
    ax.set_yticks(range(len(rows) + 1), [*rows, MEAN])


def _label_own(ax: Any, rows: Rows, unit: str) -> None:
    """Lucid's own values, under the first setting, at the right edge."""
    for y, row in enumerate(rows.values()):
        ax.annotate(
            f" {_short(row['lucid'])} {unit}",
            (1, y),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color="dimgray",
            annotation_clip=False,
        )


def _style(ax: Any, rows: int) -> None:
    """A log axis with plain numbers; the mean under a line."""
    ax.set_xscale("log", subs=[])
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, 0.45), max(high, 2.2))
    low, high = ax.get_xlim()
    decades = [m * 10.0**e for e in range(-4, 5) for m in (1, 2, 5)]
    ticks = [tick for tick in decades if low <= tick <= high]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    ax.set_ylim(rows + 0.6, -0.6)
    ax.tick_params(axis="y", labelsize=9)
    ax.axvline(1, color="black", linewidth=1)
    ax.axhline(rows - 0.5, color="gray", linewidth=0.6)
    ax.grid(color="0.9")
    ax.set_axisbelow(True)


def _caption(figure: Any, ax: Any, report: dict[str, Any]) -> None:
    about = report["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    figure.suptitle(
        f"{about['processor']}, {about['cores']} cores, {about['platform']}\n"
        f"on the {about['device']}, BLAS {about['blas']}\n"
        f"{versions}; gray: Lucid's own values",
        fontsize=8,
    )
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        *(handles, labels),
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
