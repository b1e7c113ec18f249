"""Networks without their originals: laziness, training, wrong arguments."""

from __future__ import annotations

import copy

import lucid
from lucid import models, nn, optim
import mlx.core as mx
import pytest

NNUNET = {
    "n_stages": 2,
    "features_per_stage": (2, 4),
    "conv_op": "Conv3d",
    "kernel_sizes": 3,
    "strides": (1, 2),
    "num_classes": 2,
    "n_conv_per_stage_decoder": 1,
    "norm_op": "InstanceNorm3d",
    "nonlin": "LeakyReLU",
}
NETWORKS = {
    "UNet": lambda channels: models.UNet(3, channels, 2, (2, 4), (2,), num_res_units=1),
    "SegResNet": lambda channels: models.SegResNet(
        in_channels=channels, blocks_down=(1, 1), blocks_up=(1,)
    ),
    "PlainConvUNet": lambda channels: models.PlainConvUNet(
        channels, n_conv_per_stage=1, **NNUNET
    ),
    "ResidualEncoderUNet": lambda channels: models.ResidualEncoderUNet(
        channels, n_blocks_per_stage=1, **NNUNET
    ),
}
X = mx.random.normal((1, 3, 8, 8, 8), key=mx.random.key(0))


@pytest.mark.parametrize("name", NETWORKS)
def test_lazy_channels_give_the_network_of_known_ones(name):
    lucid.manual_seed(1)
    known = NETWORKS[name](3)
    state = known.state_dict()
    lazy = NETWORKS[name](None)
    lazy.load_state_dict(state)
    assert (lazy(X) == known(X)).all()
    fresh = NETWORKS[name](None)
    fresh(X)
    assert {k: v.shape for k, v in fresh.state_dict().items()} == {
        k: v.shape for k, v in state.items()
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_a_lazy_network_trains_from_its_first_step(name):
    lucid.manual_seed(2)
    net = NETWORKS[name](None)
    target = mx.concatenate([X[:, :1] * 0.5, 1 - X[:, :1]], axis=1)
    step = nn.value_and_grad(net, lambda x: (net(x) - target).square().mean())
    optimizer = optim.SGD(learning_rate=0.02, momentum=0.9)
    losses = []
    for _ in range(6):
        loss, gradients = step(X)
        optimizer.update(net, gradients)
        mx.eval(net.state, optimizer.state)
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_copy_is_independent_and_equal(name):
    net = NETWORKS[name](3)
    twin = copy.deepcopy(net)
    assert (twin(X) == net(X)).all()
    assert list(twin.state_dict()) == list(net.state_dict())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.UNet(2, 1, 1, (2, 4), (2,)), "`spatial_dims`"),
        (lambda: models.UNet(3, 1, 1, (2,), ()), "`channels`"),
        (lambda: models.UNet(3, 1, 1, (2, 4, 8), (2,)), "`strides`"),
        (lambda: models.UNet(3, 1, 1, (2, 4), (2,), kernel_size=2), "`kernel_size`"),
        (lambda: models.UNet(3, 1, 1, (2, 4), (2,), act="relux"), "`act`"),
        (lambda: models.UNet(3, 1, 1, (2, 4), (2,), norm="x"), "`norm`"),
        (lambda: models.UNet(3, 1, 1, (2, 4), (2,), adn_ordering="NXA"), "ordering"),
        (lambda: models.SegResNet(norm_name="batch"), "`norm_name`"),
        (lambda: models.SegResNet(upsample_mode="cubic"), "`upsample_mode`"),
        (lambda: models.PlainConvUNet(1, 2, (2,), "Conv3d", 3, 1, 1, 2, 1), "features"),
        (lambda: models.PlainConvUNet(1, 2, 2, "Conv2d", 3, 1, 1, 2, 1), "`conv_op`"),
        (lambda: models.PlainConvUNet(1, 2, 2, nn.Linear, 3, 1, 1, 2, 1), "`conv_op`"),
        (
            lambda: models.ResidualEncoderUNet(
                1, n_blocks_per_stage=1, **NNUNET, block=models.BottleneckD
            ),
            "`bottleneck_channels`",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_strides_that_nobody_uses_are_a_warning():
    with pytest.warns(UserWarning, match="`strides`"):
        models.UNet(3, 1, 1, (2, 4), (2, 2))
