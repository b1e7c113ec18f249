"""Time a training step of whole networks, in Lucid and, where installed, in PyTorch.

    python examples/benchmark_training.py                      # a U-Net, the denoiser
    python examples/benchmark_training.py --networks unet-64 --repeats 3
    python examples/benchmark_training.py --allocator both --memory --json times.json

A step is the loss, its gradients and the optimizer's update of every weight: Adam's, or
for networks that segment, Dice and cross entropy under SGD with Nesterov momentum. All
contenders start from the same weights; their losses and gradients are compared before
anything is timed, and then they take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import importlib
import importlib.util
import os
from pathlib import Path
import sys
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

from benchmark_contenders import (
    DisagreementError,
    as_float32,
    check_agreement,
    torch_device,
)
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
from benchmark_memory import peaks
from benchmark_networks import (
    CLASSES,
    NETWORKS,
    Network,
    lucid_optimizer,
    torch_optimizer,
)
import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import mlx.utils
import numpy as np

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
    optimizer = lucid_optimizer(network)
    x, target = map(mx.array, batch)
    loss_and_grad = nn.value_and_grad(
        model, lambda x, target: network.loss(F, model(x), target)
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
    optimizer = torch_optimizer(network, model)
    x, target = (torch.from_numpy(array).to(where) for array in batch)

    def backward() -> Any:
        optimizer.zero_grad()
        loss = network.loss(torch.nn.functional, model(x), target)
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


def trainers(
    network: Network, device: str, contenders: Sequence[str]
) -> dict[str, Trainer]:
    """Those asked for, with the same weights and the same batch."""
    random = np.random.default_rng(0)
    batch = [random.standard_normal(network.shape, np.float32) for _ in range(2)]
    if network.segments:
        batch[1] = random.integers(0, CLASSES, network.shape).astype(np.float32)
    lucid.manual_seed(0)
    model = network.in_lucid()
    nn.materialize(model, network.shape)
    weights = {name: np.array(value) for name, value in model.state_dict().items()}
    return {
        who: torch_trainer(network, weights, batch, device)
        if who == "torch"
        else lucid_trainer(network, weights, batch, compiled=who != "lucid")
        for who in contenders
    }


def compared(gradients: dict[str, Any]) -> dict[str, Any]:
    """Loss and gradients by name, those of single weights as one array.

    A PReLU's is a sum over all voxels, which may happen to cancel: of its own value,
    float32 can then be any part away.
    """
    single = [name for name, gradient in gradients.items() if gradient.shape == (1,)]
    if not single:
        return gradients
    together = np.concatenate([as_float32(gradients[name]) for name in single])
    others = {name: of for name, of in gradients.items() if name not in single}
    return {**others, "single weights": together}


def measure(
    network: Network, device: str, repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Times of a step by contender, once all agree on the first one's gradients."""
    everyone = trainers(network, device, CONTENDERS)
    gradients = {
        who: compared(trainer.gradients()) for who, trainer in everyone.items()
    }
    names = list(gradients["lucid"])
    in_order = {who: [of[name] for name in names] for who, of in gradients.items()}
    check_agreement(in_order, names, network.tolerance)
    steps = {who: trainer.step for who, trainer in everyone.items()}
    return {"training step": timed(steps, repeats)}


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    times, memory = {}, {}
    for name in options.networks:
        print(f"{name}, allocator {allocator()}", file=sys.stderr)
        times[name] = measure(NETWORKS[name], options.device, options.repeats)
        if options.memory:
            memory[name] = peaks(name, CONTENDERS, options.device)
    return results_of(times) | ({"peak_mib": memory} if memory else {})


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
    command_line.run(main)
