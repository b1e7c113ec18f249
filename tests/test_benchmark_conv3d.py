"""The benchmark runs, reports every contender, and refuses to time disagreement."""

from __future__ import annotations

from collections.abc import Sequence
import importlib.util
import json
from pathlib import Path
from typing import Any

from lucid import _cpu
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "benchmark_conv3d.py"


@pytest.fixture
def benchmark() -> Any:
    """The script, imported anew, so that a test may change its contenders."""
    spec = importlib.util.spec_from_file_location("benchmark_conv3d", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_quick_run_of_one_shape_reports_positive_times(
    benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "times.json"
    arguments = ["--quick", "--shapes", "strided", "--device", "cpu", "--json"]
    benchmark.main([*arguments, str(file)])
    report = json.loads(file.read_text())
    printed = capsys.readouterr().out
    assert report["machine"]["blas"] == _cpu.blas
    assert report["machine"]["device"] == "cpu"
    assert list(report["medians_ms"]) == ["strided"]
    directions = report["medians_ms"]["strided"]
    assert list(directions) == ["forward", "forward+backward"]
    for direction, medians in directions.items():
        assert list(medians) == list(benchmark.CONTENDERS)
        for name, median in medians.items():
            assert median > 0
            assert report["times_ms"]["strided"][direction][name] == [median]
            assert f"{median:.2f} ({median / medians['lucid']:6.2f})" in printed


@pytest.mark.parametrize(
    ("index", "what"),
    [(0, "output"), (1, "input's gradient"), (2, "weight's"), (3, "bias's gradient")],
)
@pytest.mark.parametrize("error", [1.001, np.nan])
def test_a_contender_that_is_wrong_raises_and_is_named(
    benchmark: Any, index: int, what: str, error: float
):
    def wrong(case: Any, arrays: Sequence[np.ndarray]) -> Any:
        def run(forward: Any) -> list[np.ndarray]:
            results = [np.array(array) for array in forward()]
            if index < len(results):
                results[index] *= error
            return results

        pair = benchmark.mlx_contender(case, arrays)
        return tuple(lambda forward=forward: run(forward) for forward in pair)

    benchmark.CONTENDERS = {"lucid": benchmark.lucid_contender, "wrong": wrong}
    with pytest.raises(benchmark.DisagreementError, match=f"wrong and lucid .* {what}"):
        benchmark.main(["--quick", "--shapes", "strided", "--device", "cpu"])


def test_a_contender_of_another_shape_raises(benchmark: Any):
    results = {"lucid": [np.ones((2, 3))], "wrong": [np.ones((3, 2))]}
    with pytest.raises(benchmark.DisagreementError, match="wrong"):
        benchmark.check_agreement(results)


def test_contenders_take_turns(benchmark: Any):
    turns: list[str] = []
    runs = {name: lambda name=name: turns.append(name) for name in ("a", "b")}
    times = benchmark.interleaved(runs, 3)
    assert turns == ["a", "b"] * 3
    assert [len(times["a"]), len(times["b"])] == [3, 3]


@pytest.mark.parametrize(
    "arguments", [["--repeats", "0"], ["--shapes", "none"], ["--device", "tpu"]]
)
def test_bad_options_end_the_program_before_it_measures(
    benchmark: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        benchmark.main(arguments)
    assert "error" in capsys.readouterr().err
