"""`--tune` measures what the benchmark times."""

from __future__ import annotations

from pathlib import Path

from lucid.metal.shapes import BENCHMARK

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_shapes_are_those_of_the_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from benchmark_shapes import TABLE, UNET

    theirs = {name: tuple(case[:3]) for name, case in {**TABLE, **UNET}.items()}
    assert {name: tuple(case) for name, case in BENCHMARK.items()} == theirs
