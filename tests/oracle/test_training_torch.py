"""Networks written as in PyTorch, trained beside PyTorch's from the same weights."""

from __future__ import annotations

from typing import Any

import lucid
from lucid import optim
import mlx.core as mx
from monai import losses
import numpy as np
import pytest
import torch

# Small volumes: threads would wait for each other.
torch.set_num_threads(1)

STEPS = 50

UNET = """
class Block(nn.Sequential):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
            nn.Conv3d(outputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm3d(outputs),
            nn.PReLU(),
        )


class UNet(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        first, *deeper = channels
        self.encoder = nn.ModuleList([Block(1, first)])
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.heads = nn.ModuleList()
        for before, after in zip(channels, deeper):
            self.encoder.append(Block(before, after, stride=2))
            self.up.insert(0, UPSAMPLER(after, before))
            self.decoder.insert(0, Block(2 * before, before))
            self.heads.insert(0, nn.Conv3d(before, classes, 1))

    def forward(self, x):
        skips = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        skips.pop()
        outputs = []
        for up, block, head in zip(self.up, self.decoder, self.heads):
            x = torch.cat([skips.pop(), up(x)], dim=1)
            x = block(x)
            outputs.append(head(x))
        return outputs[::-1]
"""

UPSAMPLERS = {
    "transposed": "nn.ConvTranspose3d({0}, {1}, kernel_size=2, stride=2)",
    "trilinear": "nn.Sequential("
    "nn.Upsample(scale_factor=2, mode='trilinear', align_corners=False), "
    "nn.Conv3d({0}, {1}, 1))",
    "nearest": "nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv3d({0}, {1}, 1))",
}


def unet(library: Any, upsampler: str) -> Any:
    """The network of the text above in a library."""
    source = UNET.replace(
        "UPSAMPLER(after, before)", UPSAMPLERS[upsampler].format("after", "before")
    )
    namespace = {"torch": library, "nn": library.nn}
    exec(source, namespace)
    make: Any = namespace["UNet"]
    return make((4, 8, 12), 3)


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """Noisy volumes of two boxes, and which voxel is in which."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4):
        labels = np.zeros((2, 1, 8, 12, 16), np.int64)
        for n in range(2):
            d, h, w = rng.integers(0, 4, 3)
            labels[n, 0, d : d + 4, h : h + 6, w : w + 5] = 1
            labels[n, 0, d : d + 4, h : h + 6, w + 6 : w + 11] = 2
        noise = rng.normal(size=labels.shape)
        found.append(((labels + 0.3 * noise).astype(np.float32), labels))
    return found


def train_theirs(model: Any) -> list[float]:
    loss = losses.DeepSupervisionLoss(
        losses.DiceCELoss(to_onehot_y=True, softmax=True, batch=True)
    )
    optimizer = torch.optim.SGD(
        model.parameters(), 0.02, momentum=0.9, weight_decay=3e-5, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, STEPS, power=0.9)
    found = []
    for i in range(STEPS):
        x, y = map(torch.tensor, batches()[i % 4])
        optimizer.zero_grad()
        value = loss(model(x), y.float())
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 12)
        optimizer.step()
        schedule.step()
        found.append(value.item())
    return found


def train_ours(model: Any) -> list[float]:
    loss = lucid.nn.DeepSupervisionLoss(
        lucid.nn.DiceCELoss(to_onehot_y=True, softmax=True, batch=True)
    )
    optimizer = optim.SGD(
        optim.polynomial_decay(0.02, STEPS, power=0.9),
        momentum=0.9,
        weight_decay=3e-5,
        nesterov=True,
    )
    step = lucid.nn.value_and_grad(model, lambda x, y: loss(model(x), y))
    found = []
    for i in range(STEPS):
        x, y = map(mx.array, batches()[i % 4])
        value, gradients = step(x, y)
        gradients, _ = optim.clip_grad_norm(gradients, 12)
        optimizer.update(model, gradients)
        mx.eval(model.state, optimizer.state)
        found.append(value.item())
    return found


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_a_unet_written_as_in_pytorch_trains_as_pytorchs(upsampler):
    torch.manual_seed(0)
    theirs, ours = unet(torch, upsampler), unet(lucid, upsampler)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    want, got = train_theirs(theirs), train_ours(ours)
    np.testing.assert_allclose(got, want, rtol=1e-3)
    assert want[-1] < want[0] / 2
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = batches()[0][0]
    answer = theirs.eval()(torch.tensor(x))[0].detach().numpy()
    off = np.abs(np.array(ours.eval()(mx.array(x))[0]) - answer).max()
    assert off < 0.01 * np.abs(answer).max()


def test_an_average_follows_a_model_as_pytorchs_does():
    torch.manual_seed(0)
    theirs, ours = unet(torch, "nearest"), unet(lucid, "nearest")
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    averaging = torch.optim.swa_utils
    want = averaging.AveragedModel(
        theirs, multi_avg_fn=averaging.get_ema_multi_avg_fn(0.9)
    )
    got = optim.ExponentialMovingAverage(ours, 0.9)
    for factor in (1.1, 0.7, 1.3):
        state = {k: v * factor for k, v in theirs.state_dict().items()}
        theirs.load_state_dict(state)
        ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
        want.update_parameters(theirs)
        got.update_parameters(ours)
    state = got.module.state_dict()
    for name, value in want.module.state_dict().items():
        np.testing.assert_allclose(np.array(state[name]), value.numpy(), rtol=1e-6)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_a_plateau_lowers_the_rate_when_pytorchs_does(mode, threshold_mode, cooldown):
    options = {
        "mode": mode,
        "threshold_mode": threshold_mode,
        "cooldown": cooldown,
        "factor": 0.5,
        "patience": 2,
        "threshold": 0.05,
        "min_lr": 1e-3,
    }
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    mine = optim.SGD(1.0)
    ours = optim.ReduceLROnPlateau(mine, **options)
    for number in np.random.default_rng(0).normal(size=60):
        theirs.step(number)
        ours.step(number)
        want = optimizer.param_groups[0]["lr"]
        assert mine.learning_rate.item() == pytest.approx(want, rel=1e-6)
