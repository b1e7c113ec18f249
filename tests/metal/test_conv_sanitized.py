"""The convolution kernels under the sanitizers of addresses and undefined behavior."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from lucid.metal import conv, launch
import mlx.core as mx
import numpy as np
import pytest

from tests.metal.test_conv import DTYPES, SPATIAL, TILES, case_of, check_kernels
from tests.metal_emulator import emulated_metal
from tests.metal_emulator.sanitize import needs_sanitizers, sanitizer_report
from tests.ops.test_formulations import geometry_of
from tests.oracle import MODES, Problem

slow = [pytest.mark.slow]


def launches_of(cases: list[tuple[Problem, mx.Dtype]]) -> list[Any]:
    rng = np.random.default_rng(0)
    emulations = [check_kernels(case, dtype, rng) for case, dtype in cases]
    return [(one.kernel, one.inputs) for every in emulations for one in every.launches]


@pytest.mark.slow
@needs_sanitizers
@pytest.mark.parametrize(
    "dtype", [pytest.param(t, marks=slow * (t != mx.float16)) for t in DTYPES], ids=str
)
def test_kernels_are_clean_under_the_sanitizers(dtype):
    """Every mode, each tile in some dtype."""
    shift = DTYPES.index(dtype)
    cases = [
        (case_of(tile, MODES[(i + shift) % 4], SPATIAL[(4 * i + shift) % 11]), dtype)
        for i, tile in enumerate(TILES)
        if i % 3 == shift or tile == "depthwise"
    ]
    assert sanitizer_report(launches_of(cases)) == ""


@needs_sanitizers
@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("tile", TILES)
def test_every_tile_and_mode_is_clean_under_the_sanitizers(tile, mode):
    start = list(itertools.product(TILES, MODES)).index((tile, mode))
    cases = [
        (case_of(tile, mode, SPATIAL[(start + i) % len(SPATIAL)]), DTYPES[i % 3])
        for i in range(0, len(SPATIAL), 3)
    ]
    assert sanitizer_report(launches_of(cases)) == ""


@needs_sanitizers
def test_the_sanitizers_see_a_read_past_the_last_voxel(monkeypatch):
    """Which changes no output: it is made for those that a strip has too many."""
    text = launch.source("common").replace("q > last ? -1 :", "")
    sources = {"common": text, "conv_forward": launch.source("conv_forward")}
    case = Problem((1, 1, 1, 1, 3), (1, 1, 1, 1, 3), padding=(0, 0, 2))
    case = dataclasses.replace(case, padding_mode="circular")
    monkeypatch.setattr(launch, "source", sources.__getitem__)
    launch.compiled.cache_clear()
    geometry = geometry_of(case)
    with emulated_metal() as emulation:
        conv.forward_kernel(
            mx.ones((1, 1, 1, 3, 1)), mx.ones((1, 1, 1, 1, 3)), None, geometry
        )
    launch.compiled.cache_clear()
    report = sanitizer_report([(one.kernel, one.inputs) for one in emulation.launches])
    assert "AddressSanitizer" in report
