"""deepbet's networks beside PyTorch's run of their TorchScript."""

from __future__ import annotations

from pathlib import Path
import sys

import mlx.core as mx
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.filterwarnings(  # torch.jit's own
    "ignore::DeprecationWarning", "ignore::FutureWarning"
)
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield __import__("extract_brain")
    sys.modules.pop("extract_brain")


@pytest.mark.parametrize("name", ["bbox_model", "model"])
def test_probabilities_are_torchscript_s(name, example):
    scripted = torch.jit.load(example.fetched("deepbet", f"data/models/{name}.pt"))
    rng = np.random.default_rng(0)
    x = (0.449 + 0.226 * rng.normal(size=(1, 1, 64, 64, 64))).astype(np.float32)
    with torch.no_grad():
        want = scripted(torch.tensor(x)).numpy()
    got = np.array(example.load_network(name)(mx.array(x)))
    assert np.abs(got - want).max() < 1e-3


def test_names_are_those_of_the_checkpoint(example):
    scripted = torch.jit.load(example.fetched("deepbet", "data/models/model.pt"))
    ours = example.LinkNet().state_dict()
    assert list(ours) == list(scripted.state_dict())
