"""The layers' benchmark runs, prints a row a layer, and times no disagreement."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ["--quick", "--device", "cpu"]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr("benchmark_conv3d.SPINNING", 0)  # these times are for nobody
    return importlib.import_module("benchmark_layers")


def test_it_prints_a_row_a_layer_and_writes_the_times(benchmark, tmp_path, capsys):
    file = tmp_path / "times.json"
    names = ["nearest-x2", "concatenation", "trilinear-odd"]
    assert benchmark.main([*QUICK, "--layers", *names, "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == names
    report = json.loads(file.read_text())
    assert list(report["quartiles_ms"]) == names
    for times in report["quartiles_ms"].values():
        assert min(times.values()) > 0
    assert "mlx.nn" in report["quartiles_ms"]["nearest-x2"]
    assert report["machine"]["device"] == "cpu"


def test_contenders_that_differ_are_not_timed(benchmark, monkeypatch, capsys):
    case = benchmark.CASES["concatenation"]
    case = case._replace(in_mlx=lambda x, y: mx.concatenate([y, x], axis=1))
    monkeypatch.setitem(benchmark.CASES, "concatenation", case)
    assert benchmark.main([*QUICK, "--layers", "concatenation"]) == 1
    assert "mlx.nn" in capsys.readouterr().err
