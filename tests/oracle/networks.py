"""A network beside its original."""

from __future__ import annotations

from typing import Any

from lucid import nn
import mlx.core as mx
from mlx.utils import tree_flatten
import numpy as np
import torch

# Through some ten layers of float32, each within 2e-5 of PyTorch's.
TOLERANCE = 2e-4


def first(output: Any) -> list[Any]:
    return list(output) if isinstance(output, list | tuple) else [output]


def assert_same_network(
    ours: nn.Module, theirs: torch.nn.Module, shape: tuple[int, ...]
) -> None:
    """The same names in the same order, and from the same weights the same numbers.

    Outputs, and every parameter's gradient of a smooth loss, in training mode.
    """
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.tensor(rng.normal(0, 0.1, parameter.shape)))
    state = {k: v.detach().numpy() for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    assert list(ours.state_dict()) == list(state)
    named = [name for name, _ in ours.named_parameters()]
    assert named == [name for name, _ in theirs.named_parameters()]

    x = rng.normal(size=shape).astype(np.float32)
    wants = first(theirs(torch.tensor(x)))
    cotangents = [rng.normal(size=want.shape).astype(np.float32) for want in wants]
    loss = sum(
        (want * torch.tensor(c)).mean()
        for want, c in zip(wants, cotangents, strict=True)
    )
    loss.backward()

    def score(x: mx.array) -> tuple[mx.array, list[mx.array]]:
        gots = first(ours(x))
        pairs = zip(gots, cotangents, strict=True)
        return sum((got * mx.array(c)).mean() for got, c in pairs), gots

    (_, gots), gradients = nn.value_and_grad(ours, score)(mx.array(x))
    for got, want in zip(gots, wants, strict=True):
        close(got, want)
    flat = dict(tree_flatten(gradients))
    names = dict(zip(*_mlx_and_torch_names(ours), strict=True))
    found = {names[name]: gradient for name, gradient in flat.items() if name in names}
    for name, parameter in theirs.named_parameters():
        if parameter.grad is None:  # a head that deep supervision alone uses
            assert not mx.any(found[name]), name
        else:
            close(found[name], parameter.grad, name)


def _mlx_and_torch_names(model: nn.Module) -> tuple[list[str], list[str]]:
    """The names of MLX's tree and PyTorch's, of each parameter once."""
    by_id = {id(array): name for name, array in model.named_parameters()}
    pairs = [
        (name, by_id[id(array)])
        for name, array in tree_flatten(model.parameters())
        if id(array) in by_id
    ]
    theirs, ours = zip(*pairs, strict=True)
    return list(theirs), list(ours)


def close(got: mx.array, want: torch.Tensor, name: str = "output") -> None:
    expected = want.detach().numpy()
    scale = max(np.abs(expected).max(), 1e-3)
    error = np.abs(np.array(got) - expected).max(initial=0) / scale
    assert error < TOLERANCE, (name, error)
