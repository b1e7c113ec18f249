"""The layers that `benchmark_layers.py` times, at shapes of real networks."""

from __future__ import annotations

from collections.abc import Callable
import importlib
from typing import Any, NamedTuple

from lucid import nn
import mlx.core as mx
import mlx.nn

Shape = tuple[int, ...]
Function = Callable[..., Any]


class Case(NamedTuple):
    """A layer on arrays of these shapes, and how fast it means to be.

    Attributes:
        goal: the ratio to PyTorch's time that the project aims at.
        shapes: of the arrays, which all have a gradient.
        call: of a library's functions and the arrays: both libraries share the names.
        in_mlx: what a user of `mlx.nn` writes, of the same arrays.
        classes: what a target of class indices is drawn from, passed after the arrays.
    """

    goal: float
    shapes: tuple[Shape, ...]
    call: Function
    in_mlx: Function | None = None
    classes: int = 0


def channels_last(layer: Function) -> Function:
    """A layer of MLX's between the transposes that it needs."""
    return lambda x: layer(x.transpose(0, 2, 3, 4, 1)).transpose(0, 4, 1, 2, 3)


def transposed(x: Shape, out: int, kernel: int, goal: float, *options: int) -> Case:
    """`options`: stride, padding, output padding, groups."""
    groups = options[3] if len(options) > 3 else 1

    def in_mlx(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
        stride, padding, extra = (*options, 0, 0)[:3]
        x, w = x.transpose(0, 2, 3, 4, 1), w.transpose(1, 2, 3, 4, 0)
        y = mx.conv_transpose3d(x, w, stride, padding, output_padding=extra) + b
        return y.transpose(0, 4, 1, 2, 3)

    return Case(
        goal,
        (x, (x[1], out // groups, *[kernel] * 3), (out,)),
        lambda f, x, w, b: f.conv_transpose3d(x, w, b, *options),
        in_mlx if groups == 1 else None,
    )


def resized(x: Shape, goal: float, mode: str, **options: Any) -> Case:
    in_mlx = None
    if "scale_factor" in options:
        kind: Any = "linear" if mode == "trilinear" else "nearest"
        in_mlx = channels_last(mlx.nn.Upsample(options["scale_factor"], kind))
    return Case(goal, (x,), lambda f, x: f.interpolate(x, mode=mode, **options), in_mlx)


def pooled(x: Shape, name: str, kernel: int, stride: int, padding: int) -> Case:
    kind = {"max_pool3d": mlx.nn.MaxPool3d, "avg_pool3d": mlx.nn.AvgPool3d}[name]
    return Case(
        1.2,
        (x,),
        lambda f, x: getattr(f, name)(x, kernel, stride, padding),
        channels_last(kind(kernel, stride, padding)),
    )


def normed(x: Shape, goal: float, name: str) -> Case:
    def call(f: Any, x: Any, w: Any, b: Any) -> Any:
        if name == "group_norm":
            return f.group_norm(x, 8, w, b)
        if name == "batch_norm":
            return f.batch_norm(x, None, None, w, b, training=True)
        return f.instance_norm(x, None, None, w, b)

    def in_mlx(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
        if name == "group_norm":
            layer = mlx.nn.GroupNorm(8, x.shape[1], pytorch_compatible=True)
        else:
            layer = mlx.nn.InstanceNorm(x.shape[1], affine=True)
        layer.weight, layer.bias = w, b
        return channels_last(layer)(x)

    weights = ((x[1],), (x[1],))
    theirs = None if name == "batch_norm" else in_mlx  # it takes no volumes
    return Case(goal, (x, *weights), call, theirs)


def dice_and_cross_entropy(f: Any, x: Any, target: Any) -> Any:
    """MONAI's DiceCELoss of softmax and class indices."""
    if f.__name__.startswith("lucid"):
        return nn.DiceCELoss(to_onehot_y=True, softmax=True)(x, target[:, None])
    torch = importlib.import_module("torch")
    p = torch.softmax(x, 1)
    y = f.one_hot(target, x.shape[1]).movedim(-1, 1).float()
    both, each = (p * y).sum((2, 3, 4)), p.sum((2, 3, 4)) + y.sum((2, 3, 4))
    dice = (1 - (2 * both + 1e-5) / (each + 1e-5)).mean()
    return dice + f.cross_entropy(x, target)


def concatenated(f: Any, x: Any, y: Any) -> Any:
    if f.__name__.startswith("lucid"):
        return mx.concatenate([x, y], axis=1)
    return importlib.import_module("torch").cat([x, y], 1)


SMALL, LARGE, COARSE = (2, 16, 32, 32, 32), (1, 32, 64, 64, 64), (2, 320, 4, 5, 4)
CASES = {
    "transposed-k2-s2": transposed((1, 64, 16, 16, 16), 32, 2, 1.0, 2),
    "transposed-k2-s2-fine": transposed((1, 32, 32, 32, 32), 16, 2, 1.0, 2),
    "transposed-k2-s2-coarse": transposed(COARSE, 320, 2, 1.0, 2),
    "transposed-k3-s2": transposed((1, 64, 16, 16, 16), 32, 3, 2.0, 2, 1, 1),
    "transposed-k4-s2": transposed((2, 16, 16, 16, 16), 8, 4, 2.0, 2, 1),
    "transposed-grouped": transposed((1, 32, 16, 16, 16), 32, 3, 2.0, 2, 1, 1, 4),
    "transposed-depthwise": transposed((1, 32, 16, 16, 16), 32, 3, 2.0, 2, 1, 1, 32),
    "trilinear-x2": resized((1, 32, 32, 32, 32), 1.3, "trilinear", scale_factor=2),
    "trilinear-x2-small": resized(
        (2, 16, 16, 16, 16), 1.3, "trilinear", scale_factor=2
    ),
    "nearest-x2": resized((1, 32, 32, 32, 32), 1.3, "nearest", scale_factor=2),
    "trilinear-odd": resized((1, 16, 15, 17, 21), 4, "trilinear", size=(22, 25, 31)),
    "trilinear-down": resized((1, 16, 64, 64, 64), 4, "trilinear", size=(32, 32, 32)),
    "area-down": resized((1, 16, 64, 64, 64), 4, "area", size=(32, 32, 32)),
    "instance-norm": normed(SMALL, 1.2, "instance_norm"),
    "instance-norm-large": normed(LARGE, 2.0, "instance_norm"),
    "instance-norm-coarse": normed(COARSE, 1.2, "instance_norm"),
    "batch-norm": normed(SMALL, 1.2, "batch_norm"),
    "group-norm": normed(SMALL, 1.2, "group_norm"),
    "max-pool": pooled(SMALL, "max_pool3d", 2, 2, 0),
    "max-pool-k3-s2": pooled(LARGE, "max_pool3d", 3, 2, 1),
    "average-pool": pooled(SMALL, "avg_pool3d", 2, 2, 0),
    "cross-entropy": Case(
        3,
        ((1, 4, 96, 96, 96),),
        lambda f, x, t: f.cross_entropy(x, t),
        lambda x, t: mlx.nn.losses.cross_entropy(x, t, axis=1, reduction="mean"),
        classes=4,
    ),
    "dice-ce": Case(1.6, ((1, 4, 96, 96, 96),), dice_and_cross_entropy, classes=4),
    "leaky-relu": Case(
        1.5, (LARGE,), lambda f, x: f.leaky_relu(x, 0.01), mlx.nn.leaky_relu
    ),
    "concatenation": Case(1.5, (SMALL, SMALL), concatenated),
}
