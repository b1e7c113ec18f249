"""`F.conv_transpose3d` against PyTorch's in float64, whatever formulation computes."""

from __future__ import annotations

from typing import Any

import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest
import torch

from tests.oracle import to_mlx, uniform
from tests.oracle.tolerances import assert_close

COMMON: list[tuple[int, int, int]] = [(2, 2, 0), (3, 2, 1), (4, 2, 1), (3, 1, 1)]


def random_call(rng: np.random.Generator) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Often kernel, stride and padding of real networks; else anything."""

    def sizes(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.integers(low, high, 3, endpoint=True).tolist())

    kernel, stride, padding, dilation = sizes(1, 4), sizes(1, 3), sizes(0, 2), (1, 1, 1)
    if rng.random() < 0.5:
        k, s, p = COMMON[rng.integers(len(COMMON))]
        kernel, stride, padding = (k,) * 3, (s,) * 3, (p,) * 3
    elif rng.random() < 0.5:
        dilation = sizes(1, 3)
    groups, c, o = rng.integers(1, 3, 3, endpoint=True).tolist()
    extra = [
        int(rng.integers(max(s, d))) for s, d in zip(stride, dilation, strict=True)
    ]
    shapes = [(int(rng.integers(1, 3)), groups * c, *sizes(2, 5))]
    shapes += [(groups * c, o, *kernel), (groups * o,)]
    options = {
        "stride": stride,
        "padding": padding,
        "output_padding": tuple(extra),
        "groups": groups,
        "dilation": dilation,
    }
    return [uniform(rng, shape) for shape in shapes], options


@pytest.mark.usefixtures("computed_by")
@pytest.mark.parametrize("seed", range(3))
def test_output_and_gradients_equal_pytorchs(seed):
    rng = np.random.default_rng(seed)
    for _ in range(50):
        arrays, options = random_call(rng)
        exact = [torch.tensor(a).double().requires_grad_() for a in arrays]
        try:
            want = torch.nn.functional.conv_transpose3d(*exact, **options)
        except RuntimeError:  # the padding leaves no output
            with pytest.raises(ValueError, match=r"`padding` .* leaves"):
                F.conv_transpose3d(*to_mlx(arrays), **options)
            continue
        dy = uniform(rng, want.shape)
        theirs = torch.autograd.grad(want, exact, torch.tensor(dy).double())
        (got,), ours = mx.vjp(
            lambda *arrays, options=options: F.conv_transpose3d(*arrays, **options),
            to_mlx(arrays),
            to_mlx([dy]),
        )
        name = f"{arrays[0].shape}, {arrays[1].shape}, {options}"
        assert_close(got, want.detach().numpy(), f"output of {name}")
        for gradient, other in zip(ours, theirs, strict=True):
            assert_close(gradient, other.numpy(), f"a gradient of {name}")


@pytest.mark.parametrize("seed", range(2))
def test_second_gradients_equal_pytorchs(seed):
    """The gradients of the sum of the gradients' squares."""
    rng = np.random.default_rng(10 + seed)
    for _ in range(15):
        arrays, options = random_call(rng)
        options["padding"] = 0
        arrays[1] /= arrays[1].size
        exact = [torch.tensor(a).double().requires_grad_() for a in arrays]
        loss = torch.nn.functional.conv_transpose3d(*exact, **options).square().mean()
        first = torch.autograd.grad(loss, exact, create_graph=True)
        theirs = torch.autograd.grad(sum(g.square().sum() for g in first), exact)

        def loss_of(*arrays: mx.array, options: Any = options) -> mx.array:
            return F.conv_transpose3d(*arrays, **options).square().mean()

        def squares(*arrays: mx.array, loss: Any = loss_of) -> mx.array:
            return sum(g.square().sum() for g in mx.grad(loss, (0, 1, 2))(*arrays))

        ours = mx.grad(squares, (0, 1, 2))(*to_mlx(arrays))
        for gradient, other in zip(ours, theirs, strict=True):
            assert_close(gradient, other.numpy(), f"a second gradient of {options}")
