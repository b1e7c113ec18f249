"""What the documentation says of PyTorch, beside PyTorch."""

from __future__ import annotations

from typing import Any

import lucid
import mlx.core as mx
import numpy as np
import pytest
import torch

from tests.documentation import PAGES, blocks, idioms, run
from tests.test_docs import idiom_names

WITH_TORCH = [p for p in PAGES if any(block.kind == "torch" for block in blocks(p))]


@pytest.mark.parametrize("page", WITH_TORCH)
def test_blocks_that_want_pytorch_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lucid.manual_seed(0)
    assert run(page, {"", "slow", "torch"})


@pytest.mark.parametrize(("theirs", "ours"), idioms())
def test_array_idioms_give_what_pytorchs_give(theirs, ours):
    names = idiom_names()
    for_torch: dict[str, Any] = {"torch": torch, "F": torch.nn.functional}
    for name, value in names.items():
        if isinstance(value, mx.array):
            array = torch.from_numpy(np.array(value))
            integers = not (array.is_floating_point() or array.dtype == torch.bool)
            value = array.long() if integers else array
        for_torch.setdefault(name, value)
    expected, actual = eval(theirs, for_torch), eval(ours, names)
    if not isinstance(expected, tuple | list):
        expected, actual = [expected], [actual]
    assert len(expected) == len(actual)
    for one, other in zip(expected, actual, strict=True):
        one = one.numpy() if isinstance(one, torch.Tensor) else np.array(one)
        np.testing.assert_allclose(np.array(other), one, rtol=1e-5)
