"""`lucid.summary` against PyTorch's flop counter: a multiply-add is two flops."""

import lucid
from lucid import nn
import torch
from torch.utils.flop_counter import FlopCounterMode


def network(nn):
    """Every kind of layer that multiplies by weights, and some that do not."""
    return nn.Sequential(
        nn.Conv3d(2, 6, 3, padding=1),
        nn.BatchNorm3d(6),
        nn.PReLU(6),
        nn.Conv3d(6, 8, (1, 3, 2), stride=2, groups=2),
        nn.GroupNorm(2, 8),
        nn.ConvTranspose3d(8, 4, 2, 2, groups=2),
        nn.Upsample(scale_factor=2, mode="trilinear"),
        nn.ConvTranspose3d(4, 3, 3, 2, 1, 1, dilation=2),
        nn.AdaptiveAvgPool3d((2, 3, 4)),
        nn.Flatten(),
        nn.Linear(72, 5),
    )


def test_multiply_adds_are_half_of_pytorchs_flops():
    shape = (3, 2, 8, 9, 10)
    with FlopCounterMode(display=False) as counter:
        network(torch.nn)(torch.zeros(shape))
    summary = lucid.summary(network(nn), shape)
    assert 2 * summary.multiply_adds == counter.get_total_flops()
