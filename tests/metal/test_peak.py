"""What measures a GPU computes what it says."""

from __future__ import annotations

from lucid.metal import peak
import mlx.core as mx
import numpy as np
import pytest

from tests.metal_emulator import emulated_metal
from tests.oracle.tolerances import assert_close


@pytest.mark.parametrize("rounds", [0, 1, 5])
def test_every_chain_is_halved_and_grows_by_one(rounds):
    x = np.array([0.0, 1.0, -3.0], np.float32)
    with emulated_metal() as emulation:
        got = peak.multiply_add_kernel(mx.array(x), rounds)
    chains = x[:, None] + np.arange(peak.CHAINS)
    # v -> v / 2 + 1 halves the distance to 2.
    want = (2 + (chains - 2) / 2**rounds).sum(axis=1)
    assert_close(got, want, "sums of chains")
    assert emulation.type_errors() == []


def test_the_peak_is_a_rate(monkeypatch):
    monkeypatch.setattr(peak, "COPIED", 2**10)
    monkeypatch.setattr(peak, "THREADS", 4)
    monkeypatch.setattr(peak, "ROUNDS", 2)
    with emulated_metal():
        found = peak.measured_peak(repeats=1)
    assert found.bytes > 0
    assert found.multiply_adds > 0
