"""PyTorch's column of `python -m lucid.metal`, on its CPU."""

from __future__ import annotations

from lucid.metal import beside_torch
from lucid.metal.check import Case
import pytest
import torch

CASES = [
    Case((1, 4, 5, 6, 7), (4, 1, 3, 3, 3), {"padding": 1, "groups": 4, "stride": 2}),
    Case((2, 4, 5, 6, 7), (8, 4, 3, 3, 3), {"padding": 2, "dilation": 2}),
]


@pytest.mark.parametrize("case", CASES, ids=["depthwise", "dilated"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_pass_has_a_time(case, dtype):
    times = beside_torch.medians(case, dtype, repeats=1, launches=2, device="cpu")
    assert len(times) == 3
    assert min(times) > 0


def test_its_version_is_pytorchs():
    assert beside_torch.version() == torch.__version__


def test_no_apple_gpu_is_no_column(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert beside_torch.device() is None
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert beside_torch.device() == "mps"
