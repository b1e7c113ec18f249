"""A Sequential warns of MLX's layers on the wrong axes, and of nothing else."""

from __future__ import annotations

from lucid import nn
import mlx.nn
import pytest

WRONG = {
    "MaxPool3d": mlx.nn.MaxPool3d(2),
    "AvgPool3d": mlx.nn.AvgPool3d(2),
    "Upsample": mlx.nn.Upsample(2),
    "InstanceNorm3d": mlx.nn.InstanceNorm(4),
    "BatchNorm3d": mlx.nn.BatchNorm(4),
    "Dropout3d": mlx.nn.Dropout3d(),
}


@pytest.mark.parametrize("ours", WRONG)
def test_a_layer_of_mlxs_on_the_wrong_axes_is_warned_of(ours):
    conv = nn.Conv3d(4, 4, 1)
    with pytest.warns(UserWarning, match=rf"after Conv3d .* lucid\.nn\.{ours}\.$") as w:
        nn.Sequential(conv, WRONG[ours], nn.ReLU())
    assert w[0].filename == __file__
    net = nn.Sequential(conv)
    with pytest.warns(UserWarning, match=rf"lucid\.nn\.{ours}"):
        net.append(WRONG[ours])
    net = nn.Sequential(WRONG[ours])
    with pytest.warns(UserWarning, match=rf"lucid\.nn\.{ours}"):
        net.insert(0, conv)


def test_other_layers_are_not_warned_of():
    conv = nn.Conv3d(4, 4, 1)
    nn.Sequential(conv, mlx.nn.ReLU(), mlx.nn.Dropout(), nn.MaxPool3d(2))
    nn.Sequential(mlx.nn.MaxPool3d(2), conv)
    nn.Sequential(mlx.nn.Conv3d(4, 4, 1), mlx.nn.MaxPool3d(2))
    nn.ModuleList([conv, mlx.nn.MaxPool3d(2)])
