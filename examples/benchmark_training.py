"""Time a training step of whole networks, in Lucid and, where installed, in PyTorch.

    python examples/benchmark_training.py                      # a U-Net, the denoiser
    python examples/benchmark_training.py --networks unet-64 --repeats 3
    python examples/benchmark_training.py --allocator both --json times.json

A step is the loss, its gradients and Adam's update of every weight. All contenders
start from the same weights; their losses and gradients are compared before anything is
timed, and then they take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import importlib
import importlib.util
import os
import sys
from typing import Any, NamedTuple

from benchmark_contenders import DisagreementError, check_agreement, torch_device
from benchmark_conv3d import (
    allocator,
    check_options,
    common_parser,
    publish,
    rerun,
    results_of,
    settings,
    timed,
)
import lucid
from lucid import nn, optim
import mlx.core as mx
import mlx.utils
import numpy as np

TOLERANCE = 1e-3  # of the largest value; float32, through up to eleven layers
RATE = 1e-4


def unet(nn: Any, up: Callable[[Any], Any], join: Callable[[Any, Any], Any]) -> Any:
    """A 3-D U-Net of three levels, in either library: they share the names.

    Args:
        nn: `lucid.nn` or `torch.nn`.
        up: doubles depth, height and width by repeating voxels.
        join: concatenates along the channels.
    """

    def block(before: int, after: int, stride: int = 1) -> Any:
        return nn.Sequential(
            nn.Conv3d(before, after, 3, stride=stride, padding=1),
            nn.ReLU(),
            nn.Conv3d(after, after, 3, padding=1),
            nn.ReLU(),
        )

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1 = block(1, 16)
            self.down2 = block(16, 32, stride=2)
            self.bottom = block(32, 64, stride=2)
            self.up2 = block(64 + 32, 32)
            self.up1 = block(32 + 16, 16)
            self.out = nn.Conv3d(16, 1, 1)

        def forward(self, x: Any) -> Any:  # (N, 1, D, H, W)
            fine = self.down1(x)  # (N, 16, D, H, W)
            middle = self.down2(fine)  # (N, 32, D / 2, H / 2, W / 2)
            coarse = self.bottom(middle)  # (N, 64, D / 4, H / 4, W / 4)
            middle = self.up2(join(up(coarse), middle))
            return self.out(self.up1(join(up(middle), fine)))

    return UNet()


def lucid_unet() -> nn.Module:
    def up(x: mx.array) -> mx.array:
        n, c, d, h, w = x.shape
        x = mx.broadcast_to(
            x[:, :, :, None, :, None, :, None], (n, c, d, 2, h, 2, w, 2)
        )
        return x.reshape(n, c, 2 * d, 2 * h, 2 * w)

    return unet(nn, up, lambda a, b: mx.concatenate([a, b], axis=1))


def torch_unet() -> Any:
    torch = importlib.import_module("torch")
    up = torch.nn.Upsample(scale_factor=2)  # nearest
    return unet(torch.nn, up, lambda a, b: torch.cat([a, b], 1))


def lucid_denoiser() -> nn.Module:
    from denoise_mri import Denoiser  # what it needs comes with the `examples` extra

    return Denoiser()


def torch_denoiser() -> Any:
    """The network of `denoise_mri.py`, under the same names."""
    nn = importlib.import_module("torch").nn
    same, channels = {"padding": 1, "padding_mode": "reflect"}, 12

    class Block(nn.Module):
        def __init__(self, dilation: int) -> None:
            super().__init__()
            look = {"padding": dilation, "dilation": dilation, "groups": channels}
            self.layers = nn.Sequential(
                nn.Conv3d(channels, channels, 3, padding_mode="reflect", **look),
                nn.Conv3d(channels, 4 * channels, 1),
                nn.ReLU(),
                nn.Conv3d(4 * channels, channels, 1),
            )

        def forward(self, x: Any) -> Any:
            return x + self.layers(x)

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv3d(1, channels, 3, **same)
            self.blocks = nn.Sequential(Block(1), Block(2))
            self.head = nn.Conv3d(channels, 1, 3, **same)

        def forward(self, noisy: Any) -> Any:
            return noisy - self.head(self.blocks(self.stem(noisy)))

    return Denoiser()


class Network(NamedTuple):
    shape: tuple[int, ...]  # of a batch, (N, 1, D, H, W)
    in_lucid: Callable[[], nn.Module]
    in_torch: Callable[[], Any]


NETWORKS = {
    "unet-32": Network((1, 1, 32, 32, 32), lucid_unet, torch_unet),
    "denoiser": Network((2, 1, 16, 16, 16), lucid_denoiser, torch_denoiser),
    "unet-64": Network((1, 1, 64, 64, 64), lucid_unet, torch_unet),
}
CONTENDERS = ["lucid", "lucid, compiled"]
if importlib.util.find_spec("torch"):
    CONTENDERS.append("torch")


class Trainer(NamedTuple):
    """Loss and gradients by name, for comparison; and a whole step, for timing."""

    gradients: Callable[[], dict[str, Any]]
    step: Callable[[], Any]


def lucid_trainer(
    network: Network,
    weights: dict[str, np.ndarray],
    batch: Sequence[np.ndarray],
    compiled: bool,
) -> Trainer:
    model = network.in_lucid()
    model.load_state_dict(weights)
    optimizer = optim.Adam(RATE, bias_correction=True)
    x, target = map(mx.array, batch)
    loss_and_grad = nn.value_and_grad(
        model, lambda x, target: (model(x) - target).square().mean()
    )

    def update(x: mx.array, target: mx.array) -> mx.array:
        loss, grads = loss_and_grad(x, target)
        optimizer.update(model, grads)
        return loss

    state = [model.state, optimizer.state]
    if compiled:
        update = mx.compile(update, inputs=state, outputs=state)

    def gradients() -> dict[str, Any]:
        loss, grads = loss_and_grad(x, target)
        names = (name for name, _ in model.named_parameters())
        flat = (value for _, value in mlx.utils.tree_flatten(grads))
        return {"loss": loss, **dict(zip(names, flat, strict=True))}

    def step() -> None:
        mx.eval(update(x, target), model.state, optimizer.state)

    return Trainer(gradients, step)


def torch_trainer(
    network: Network,
    weights: dict[str, np.ndarray],
    batch: Sequence[np.ndarray],
    device: str,
) -> Trainer:
    torch = importlib.import_module("torch")
    torch.set_num_threads(os.cpu_count())
    where = torch_device(device)
    model = network.in_torch()
    model.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
    model.to(where)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    x, target = (torch.from_numpy(array).to(where) for array in batch)

    def backward() -> Any:
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        return loss.detach()

    def gradients() -> dict[str, Any]:
        loss = backward()
        return {"loss": loss, **{k: p.grad for k, p in model.named_parameters()}}

    def step() -> None:
        backward()
        optimizer.step()
        if where != "cpu":
            getattr(torch, where).synchronize()

    return Trainer(gradients, step)


def trainers(network: Network, device: str) -> dict[str, Trainer]:
    """Everyone, with the same weights and the same batch."""
    random = np.random.default_rng(0)
    batch = [random.standard_normal(network.shape, np.float32) for _ in range(2)]
    lucid.manual_seed(0)
    model = network.in_lucid()
    nn.materialize(model, network.shape)
    weights = {name: np.array(value) for name, value in model.state_dict().items()}
    everyone = {
        "lucid": lucid_trainer(network, weights, batch, compiled=False),
        "lucid, compiled": lucid_trainer(network, weights, batch, compiled=True),
    }
    if "torch" in CONTENDERS:
        everyone["torch"] = torch_trainer(network, weights, batch, device)
    return everyone


def measure(
    network: Network, device: str, repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Times of a step by contender, once all agree on the first one's gradients."""
    everyone = trainers(network, device)
    gradients = {who: trainer.gradients() for who, trainer in everyone.items()}
    names = list(gradients["lucid"])
    in_order = {who: [of[name] for name in names] for who, of in gradients.items()}
    check_agreement(in_order, names, TOLERANCE)
    steps = {who: trainer.step for who, trainer in everyone.items()}
    return {"training step": timed(steps, repeats)}


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    times = {}
    for name in options.networks:
        print(f"{name}, allocator {allocator()}", file=sys.stderr)
        times[name] = measure(NETWORKS[name], options.device, options.repeats)
    return results_of(times)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = common_parser("Time a training step of whole networks.")
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, help="default: unet-32 denoiser"
    )
    options = check_options(parser, parser.parse_args(arguments))
    default = ["denoiser"] if options.quick else ["unet-32", "denoiser"]
    options.networks = options.networks or default
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        with mx.stream(getattr(mx, options.device)):
            results = {
                setting: measure_all(options)
                if setting == allocator()
                else rerun(__file__, setting, options)
                for setting in settings(options)
            }
    except DisagreementError as error:
        print(f"benchmark_training: {error}", file=sys.stderr)
        return 1
    publish({"allocators": results}, options, CONTENDERS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
