"""The timings of norms, pools and resampling, in the emulator."""

from __future__ import annotations

from typing import Any

from lucid.metal.peak import Peak
from lucid.metal.timing_layers import TIMED_LAYERS, layer_time_rows
import pytest

from tests.metal_emulator import emulated_metal

PEAK = Peak(bytes=1e9, multiply_adds=1e9)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name != "max pool, 2x2x2"))
        for name in TIMED_LAYERS
    ],
)
def test_every_layer_has_its_row(name):
    with emulated_metal() as emulation:
        rows = list(
            layer_time_rows({name: TIMED_LAYERS[name]}, PEAK, 1, 2, size=(4, 4, 4))
        )
    assert len(rows) == 2
    for row, dtype in zip(rows, ("float32", "float16"), strict=True):
        assert row.startswith(name)
        numbers = row.partition(dtype)[2].split()
        assert float(numbers[0]) > 0
        assert float(numbers[-1]) > 0
        if not TIMED_LAYERS[name].groups:
            assert numbers[-2] == "1024"
    assert emulation.twins == []


def test_a_failing_kernel_costs_its_own_rows_alone():
    def failing(*_: Any) -> Any:
        raise RuntimeError("[metal::Device] Unable to build metal library")

    good = TIMED_LAYERS["max pool, 2x2x2"]
    broken = type(good.kernel)(failing, good.kernel.twin, good.kernel.smaller)
    layers = {"broken": good._replace(kernel=broken), "good": good}
    with emulated_metal():
        rows = list(layer_time_rows(layers, PEAK, 1, 1, size=(4, 4, 4)))
    assert ["FAILED" in row for row in rows] == [True, True, False, False]
