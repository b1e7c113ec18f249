"""What `segment_tissue.py` trains and how: network, step, checkpoint, validation."""

from __future__ import annotations

import argparse
import time
from typing import Any

import lucid  # before mlx, to bring it a fast BLAS on Linux
from lucid import distributed, nn, optim
import mlx.core as mx
from mlx.nn.utils import average_gradients, checkpoint
from mlx.utils import tree_map
import numpy as np
import segment_checkpoint
from segment_data import Data
from segment_patches import draw_batch
from segment_results import average, dice, predict, report, save_curves
from tqdm import tqdm
from volumes import VolumeError

FEATURES = (8, 16, 32, 64)  # channels of each level
SHOWN = 8  # cases at most that validate while training


def build_network(data: Data) -> Any:
    """nnU-Net's, small. An axis is halved unless its voxels are long already."""
    strides, kernels, size = [(1, 1, 1)], [], np.array(data.spacing)
    for _ in FEATURES:
        long = size > 2 * size.min()
        kernels.append(tuple(1 if is_long else 3 for is_long in long))
        stride = np.where(long, 1, 2)
        strides.append(tuple(stride.tolist()))
        size = size * stride
    return lucid.models.PlainConvUNet(
        None,  # channels: the first patch tells, or a file of weights
        n_stages=len(FEATURES),
        features_per_stage=FEATURES,
        conv_op=nn.Conv3d,
        kernel_sizes=kernels,
        strides=strides[: len(FEATURES)],
        n_conv_per_stage=2,
        num_classes=len(data.classes),
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        deep_supervision=True,
    )


class Training:
    """A run: all that changes from step to step, and the files it is kept in."""

    def __init__(self, data: Data, args: argparse.Namespace):
        self.data, self.args = data, args
        self.group = mx.distributed.init()
        parts = args.accumulate * self.group.size()
        if args.batch % parts:
            raise VolumeError(f"--batch {args.batch} cannot be shared: {parts} parts")
        self.best = args.out / "best.npz"

        lucid.manual_seed(args.seed)
        self.patches = np.random.default_rng(args.seed)
        channels = len(data.train[0].image)
        self.network = build_network(data)
        shape = (1, channels, args.patch, args.patch, args.patch)
        distributed.materialize(self.network, shape)
        self.network.apply(self.network.initialize)
        rate = optim.polynomial_decay(args.rate, args.steps)
        self.optimizer = optim.SGD(rate, momentum=0.9, nesterov=True)
        self.optimizer.init(self.network.trainable_parameters())
        self.losses: list[float] = []  # of each step
        self.scores: list[list[float]] = []  # Dice of each class, of each validation
        self.peak = 0  # bytes
        if args.resume:
            segment_checkpoint.resume(self)
        else:
            segment_checkpoint.start_anew(self)

    def run(self) -> None:
        """Train to the end; every so many steps, validate and save a checkpoint."""
        args, start = self.args, len(self.losses)
        begin = time.perf_counter(), time.process_time()
        step = self.make_step()
        bar = tqdm(
            range(start, args.steps),
            desc="training",
            initial=start,
            total=args.steps,
            unit="step",
            disable=self.group.rank() > 0,
        )
        for done in bar:
            images, labels = draw_batch(
                self.data.train, args.batch, args.patch, self.patches
            )
            self.losses.append(step(images, labels))
            is_due = (done + 1) % args.every == 0 or done + 1 == args.steps
            if is_due and self.group.rank() == 0:
                self.validate()
                segment_checkpoint.save(self)
            score = f"{np.nanmean(self.scores[-1]):.3f}" if self.scores else "-"
            bar.set_postfix(loss=f"{np.mean(self.losses[-20:]):.3f}", Dice=score)
        wall, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
        if self.group.rank() == 0 and start < args.steps:
            print(
                f"{args.steps - start} steps in {wall:.0f} s ({cpu:.0f} s of CPU); "
                f"peak memory of a step {self.peak / 2**20:.0f} MB"
            )

    def make_step(self) -> Any:
        """A function of patches and labels that updates the weights, once."""
        network, optimizer, parts = self.network, self.optimizer, self.args.accumulate
        loss = nn.DeepSupervisionLoss(nn.DiceCELoss(to_onehot_y=True, softmax=True))
        if self.args.checkpoint:
            for stage in (*network.encoder.stages, *network.decoder.stages):
                stage.forward = checkpoint(stage, stage.forward)
        forward = in_bfloat16(network) if self.args.bf16 else network

        def loss_of(images: mx.array, labels: mx.array) -> mx.array:
            return loss(forward(images), labels)

        def update(gradients: Any) -> None:
            gradients, _ = optim.clip_grad_norm(gradients, 12)
            optimizer.update(network, gradients)

        loss_and_gradients = nn.value_and_grad(network, loss_of)
        if self.args.compile:
            state = [network.state, optimizer.state]
            loss_and_gradients = mx.compile(loss_and_gradients, state, state)
            update = mx.compile(update, state, state)

        def step(images: np.ndarray, labels: np.ndarray) -> float:
            own = slice(self.group.rank(), None, self.group.size())
            pairs = zip(
                np.split(images[own], parts), np.split(labels[own], parts), strict=True
            )
            total, gradients = mx.array(0.0), None
            for pair in pairs:
                value, new = loss_and_gradients(*map(mx.array, pair))
                total = total + value / parts
                new = tree_map(lambda g: g / parts, new)
                gradients = (
                    new if gradients is None else tree_map(mx.add, gradients, new)
                )
                mx.eval(total, gradients)  # what this part took is free for the next
            update(average_gradients(gradients))
            mx.eval(network.state, optimizer.state)
            self.peak = max(self.peak, mx.get_peak_memory())
            return float(np.array(mx.distributed.all_sum(total))) / self.group.size()

        return step

    def validate(self) -> None:
        """Score what was not trained on; keep the weights that are the best so far."""
        data, patch = self.data, self.args.patch
        rows = []
        for case in data.validation[:SHOWN]:
            prediction = predict(self.network, case, patch)
            rows.append(dice(prediction, case, len(data.classes)))
        self.scores.append(average(rows).tolist())
        if self.best_score() == len(self.scores) - 1:
            lucid.save(self.network.state_dict(), self.best)
        mx.reset_peak_memory()

    def best_score(self) -> int:
        """Which validation found most, the first of equals."""
        return int(np.argmax([np.nanmean(score) for score in self.scores]))


def in_bfloat16(network: Any) -> Any:
    """The network computing in bfloat16, with gradients of its float32 weights."""

    def forward(images: mx.array) -> list[mx.array]:
        weights = network.trainable_parameters()
        network.update(tree_map(lambda w: w.astype(mx.bfloat16), weights))
        outputs = network(images.astype(mx.bfloat16))
        network.update(weights)
        return [output.astype(mx.float32) for output in outputs]

    return forward


def test(training: Training) -> None:
    """Score the best weights on what neither trained nor chose them."""
    data, args = training.data, training.args
    network = build_network(data)  # lazy: the file tells it its channels
    network.load_state_dict(lucid.load(training.best))
    best = training.best_score()
    steps = [min((i + 1) * args.every, args.steps) for i in range(len(training.scores))]
    score = np.nanmean(training.scores[best])
    print(f"best in validation: after step {steps[best]}, mean Dice {score:.3f}")
    save_curves(training.losses, steps, training.scores, data, args.out / "curves.png")
    write = args.data is None or args.data.is_dir()
    report(network, data, args.patch, args.out, write)
    print("written: " + ", ".join(str(path) for path in sorted(args.out.iterdir())))


def rank() -> int:
    return mx.distributed.init().rank()


def use_device(name: str | None) -> None:
    if name is None:
        return
    device = mx.Device(mx.cpu if name == "cpu" else mx.gpu)
    if not mx.is_available(device):
        raise VolumeError(f"--device {name}: this machine has none")
    mx.set_default_device(device)
