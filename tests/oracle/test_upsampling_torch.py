"""`F.interpolate` against PyTorch's in float32: sizes and factors of every kind."""

from __future__ import annotations

from typing import Any

import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest
import torch

from tests.oracle import uniform
from tests.oracle.tolerances import assert_close

FACTORS = [0.25, 1 / 3, 0.5, 0.7, 1, 1.1, 1.5, 2, 3, 4]


def random_options(rng: np.random.Generator, mode: str) -> dict[str, Any]:
    options: dict[str, Any] = {"mode": mode}
    if mode == "trilinear":
        options["align_corners"] = bool(rng.integers(2))
    if rng.integers(2):
        return options | {"size": tuple(rng.integers(1, 40, 3).tolist())}
    factors = rng.uniform(0.3, 3, 3) if rng.integers(2) else rng.choice(FACTORS, 3)
    options["scale_factor"] = tuple(factors.tolist())
    if rng.integers(2):
        options["recompute_scale_factor"] = bool(rng.integers(2))
    return options


def contradicts_itself(size: tuple[int, ...], options: dict[str, Any]) -> bool:
    """Whether PyTorch's gradient is not that of its output.

    Its gradient of 'nearest' takes outputs as many, or twice as many, as voxels for
    exact copies, even where a factor says that they are spaced otherwise.
    """
    factors = options.get("scale_factor")
    if options["mode"] != "nearest" or factors is None:
        return False
    exact = options.get("recompute_scale_factor", False)
    return not exact and any(
        int(n * f) in (n, 2 * n) and f not in (1, 2)
        for n, f in zip(size, factors, strict=True)
    )


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "trilinear", "area"])
@pytest.mark.parametrize("seed", range(3))
def test_interpolate_equals_pytorchs(mode, seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        size = tuple(rng.integers(1, 12 if seed else 40, 3).tolist())
        options = random_options(rng, mode)
        factors = options.get("scale_factor", (1, 1, 1))
        if any(int(n * f) < 1 for n, f in zip(size, factors, strict=True)):
            continue
        x = uniform(rng, (1, 2, *size))
        tensor = torch.tensor(x, requires_grad=True)
        want = torch.nn.functional.interpolate(tensor, **options)
        dy = uniform(rng, want.shape)
        (dx,) = torch.autograd.grad(want, tensor, torch.tensor(dy))
        (got,), (gradient,) = mx.vjp(
            lambda x, options=options: F.interpolate(x, **options),
            [mx.array(x)],
            [mx.array(dy)],
        )
        if mode.startswith("nearest"):
            np.testing.assert_array_equal(np.array(got), want.detach().numpy())
        assert_close(got, want.detach().numpy(), f"output of {size}, {options}")
        if not contradicts_itself(size, options):
            assert_close(gradient, dx.numpy(), f"gradient of {size}, {options}")
