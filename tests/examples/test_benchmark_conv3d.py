"""The benchmarks run, report every contender, and refuse to time disagreement."""

from __future__ import annotations

from collections.abc import Sequence
import importlib
import json
import mmap
from pathlib import Path
import sys
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ["--quick", "--device", "cpu"]
OF_MLX = ["--contenders", "lucid", "mx.conv3d"]
DIRECTIONS = ["forward", "forward+backward"]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    module = importlib.import_module("benchmark_conv3d")
    monkeypatch.setattr(module, "SPINNING", 0)  # these times are for nobody
    return module


@pytest.fixture
def shapes(benchmark: Any) -> Any:
    return importlib.import_module("benchmark_shapes")


def test_quick_run_of_one_shape_reports_positive_times(
    benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "times.json"
    assert benchmark.main([*QUICK, "--shapes", "strided", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    printed = capsys.readouterr().out
    assert report["shapes"]["strided"]["input"] == [1, 64, 16, 16, 16]
    [(setting, results)] = report["allocators"].items()
    assert setting == benchmark.allocator()
    assert f"allocator: {setting}" in printed
    assert list(results["medians_ms"]) == ["strided"]
    assert list(results["medians_ms"]["strided"]) == DIRECTIONS
    for direction, medians in results["medians_ms"]["strided"].items():
        assert list(medians) == [n for n in benchmark.CONTENDERS if n != "autotuned"]
        for name, median in medians.items():
            assert median > 0
            assert results["times_ms"]["strided"][direction][name] == [median]
            ratio = median / medians["lucid"]
            if name != "lucid":
                assert results["geometric_means"][direction][name] == pytest.approx(
                    ratio
                )
                assert f"({ratio:6.2f})" in printed


def test_autotune_is_beside_the_rules_and_nobody_else(benchmark: Any, tmp_path: Path):
    file, picture = tmp_path / "times.json", tmp_path / "times.png"
    files = ["--json", str(file), "--png", str(picture)]
    shapes = ["--shapes", "small-strided"]
    assert benchmark.main([*QUICK, *shapes, "--autotune", *files]) == 0
    [results] = json.loads(file.read_text())["allocators"].values()
    for medians in results["medians_ms"]["small-strided"].values():
        assert list(medians) == ["lucid", "autotuned"]
    assert picture.stat().st_size > 0


def test_report_names_machine_blas_and_versions(benchmark: Any, tmp_path: Path):
    file = tmp_path / "times.json"
    arguments = [*QUICK, *OF_MLX, "--shapes", "small-pointwise", "--json", str(file)]
    benchmark.main(arguments)
    machine = json.loads(file.read_text())["machine"]
    assert {"processor", "cores", "platform", "blas", "device"} <= set(machine)
    assert set(machine["versions"]) == {"lucid", "mlx", "numpy"}
    assert machine["device"] == "cpu"
    assert machine["blas"] != "unknown"
    assert "/" not in machine["blas"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the setting is for glibc")
def test_both_allocators_are_measured_with_memory_and_drawn(
    benchmark: Any, tmp_path: Path
):
    json_file, picture = tmp_path / "times.json", tmp_path / "times.png"
    arguments = [*QUICK, *OF_MLX, "--shapes", "small-dense", "--allocator", "both"]
    outputs = ["--json", str(json_file), "--png", str(picture)]
    assert benchmark.main([*arguments, "--memory", *outputs]) == 0
    by_setting = json.loads(json_file.read_text())["allocators"]
    assert list(by_setting) == ["tuned", "stock"]
    for results in by_setting.values():
        assert list(results["medians_ms"]) == ["small-dense"]
        peaks = results["peak_mib"]["small-dense"]
        assert list(peaks) == DIRECTIONS
        assert list(peaks["forward"]) == ["lucid", "mx.conv3d"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_peak_memory_holds_at_least_the_results(benchmark: Any, shapes: Any):
    case = shapes.SETS["all"]["dense"]
    peaks = benchmark.peaks("dense", ["lucid"], "cpu")
    output = 4 * np.prod(case.output) / 2**20
    forward, both = (peaks[direction]["lucid"] for direction in DIRECTIONS)
    assert 0.9 * output <= forward <= both < 100 * output


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is for good")
def test_peak_counts_memory_that_has_been_given_back(benchmark: Any):
    memory = importlib.import_module("benchmark_memory")
    before, size = memory._settle(), 64 * 2**20
    with mmap.mmap(-1, size) as block:
        for _ in range(64):
            block.write(bytes(2**20))
    assert size <= memory._peak() - before < 2 * size


@pytest.mark.parametrize(
    ("index", "what"),
    [(0, "output"), (1, "input's gradient"), (2, "weight's"), (3, "bias's gradient")],
)
@pytest.mark.parametrize("error", [1.001, np.nan])
def test_a_contender_that_is_wrong_fails_and_is_named(
    benchmark: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    index: int,
    what: str,
    error: float,
):
    honest = benchmark.CONTENDERS["mx.conv3d"]

    def wrong(case: Any, arrays: Sequence[np.ndarray], device: str) -> Any:
        def run(forward: Any) -> list[np.ndarray]:
            results = [np.array(array) for array in forward()]
            if index < len(results):
                results[index] *= error
            return results

        pair = honest(case, arrays, device)
        return tuple(lambda forward=forward: run(forward) for forward in pair)

    monkeypatch.setitem(benchmark.CONTENDERS, "wrong", wrong)
    contenders = ["--contenders", "lucid", "wrong"]
    assert benchmark.main([*QUICK, *contenders, "--shapes", "small-dense"]) == 1
    captured = capsys.readouterr()
    assert "wrong and lucid differ in the " + what in captured.err
    assert "median" not in captured.out


def test_a_contender_that_leaves_a_gradient_out_raises(benchmark: Any):
    results = {"lucid": [np.ones(2), np.ones(3)], "wrong": [np.ones(2)]}
    with pytest.raises(benchmark.DisagreementError, match="wrong gives 1 arrays"):
        benchmark.check_agreement(results, ["output", "gradient"], 1e-4)


def test_a_contender_of_another_shape_raises(benchmark: Any):
    results = {"lucid": [np.ones((2, 3))], "wrong": [np.ones((3, 2))]}
    with pytest.raises(benchmark.DisagreementError, match="wrong"):
        benchmark.check_agreement(results, ["output"], 1e-4)


@pytest.mark.parametrize(
    "name",
    ["mode-circular", "mode-same-even", "mode-reflect-depthwise", "strided-bf16"],
)
def test_contenders_agree_on_padding_modes_and_bfloat16(benchmark: Any, name: str):
    assert benchmark.main([*QUICK, *OF_MLX, "--shapes", name]) == 0


def test_output_shapes_are_those_of_the_convolution(benchmark: Any, shapes: Any):
    import lucid.nn.functional as F
    import mlx.core as mx

    for name, case in shapes.SETS["all"].items():
        dtype = getattr(mx, case.dtype)
        x, w = mx.zeros(case.input, dtype), mx.zeros(case.weight, dtype)
        assert F.conv3d(x, w, **case.options).shape == case.output, name


def test_sets_and_shapes_may_be_mixed_and_come_once(shapes: Any):
    chosen = shapes.select(["small", "dense", "small-dense", "small"])
    assert list(chosen) == [*shapes.SMALL, "dense"]
    assert set(shapes.select(["all"])) == set().union(*shapes.SETS.values())


def test_contenders_take_turns(benchmark: Any):
    """Each turn begins with a call that is not timed."""
    turns: list[str] = []
    runs = {name: lambda name=name: turns.append(name) for name in ("a", "b")}
    times = benchmark.interleaved(runs, 3, calls=2)
    assert turns == ["a", "a", "a", "b", "b", "b"] * 3
    assert [len(times["a"]), len(times["b"])] == [3, 3]


def test_means_are_geometric_and_relative_to_lucid(benchmark: Any):
    rows = {"a": {"lucid": 1.0, "other": 8.0}, "b": {"lucid": 4.0, "other": 2.0}}
    assert benchmark.geometric_means(rows) == pytest.approx({"other": 2.0})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--repeats", "0"],
        ["--shapes", "none"],
        ["--device", "tpu"],
        ["--allocator", "none"],
        ["--contenders", "numpy"],
    ],
)
def test_bad_options_end_the_program_before_it_measures(
    benchmark: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        benchmark.main(arguments)
    assert "--help lists the options" in capsys.readouterr().err


@pytest.mark.slow
def test_gradients_of_single_weights_are_compared_as_one_array(benchmark: Any):
    compared = importlib.import_module("benchmark_training").compared
    wide, cancelled, large = np.ones((2, 1)), np.array([1e-6]), np.array([3.0])
    got = compared({"wide": wide, "a": cancelled, "loss": np.array(2.0), "b": large})
    assert list(got) == ["wide", "loss", "single weights"]
    assert np.array_equal(got["single weights"], np.array([1e-6, 3], np.float32))
    assert list(compared({"wide": wide})) == ["wide"]


def test_training_step_of_the_denoiser_is_timed_for_everyone(
    benchmark: Any, tmp_path: Path
):
    training = importlib.import_module("benchmark_training")
    file = tmp_path / "times.json"
    assert training.main([*QUICK, "--json", str(file)]) == 0
    [results] = json.loads(file.read_text())["allocators"].values()
    medians = results["medians_ms"]["denoiser"]["training step"]
    assert list(medians) == training.CONTENDERS
    assert min(medians.values()) > 0
