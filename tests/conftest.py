"""Lucid first: it loads a fast BLAS, which has to come before MLX.

The suite runs on the CPU, on a Mac too, so that it means the same everywhere;
`LUCID_TEST_DEVICE=gpu` runs it on the GPU.
"""

import os

import lucid  # noqa: F401
from lucid import dispatch
import mlx.core as mx
import pytest

_DEVICES = {"cpu": mx.cpu, "gpu": mx.gpu}
mx.set_default_device(mx.Device(_DEVICES[os.environ.get("LUCID_TEST_DEVICE", "cpu")]))


@pytest.fixture(params=["small", "middling", "large"])
def taken_for(request, monkeypatch) -> str:
    """The size that the CPU's choice takes a test's little volumes for."""
    if request.param != "small":
        middling = 2**60 if request.param == "middling" else 0
        monkeypatch.setattr(dispatch, "SMALL", 0)
        monkeypatch.setattr(dispatch, "MEDIUM", middling)
        monkeypatch.setattr(dispatch, "LARGE", middling)
    return request.param
