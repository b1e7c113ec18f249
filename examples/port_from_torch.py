"""Carry weights from PyTorch to Lucid, and see that the network computes the same.

    pip install torch monai dynamic-network-architectures
    python examples/port_from_torch.py

Each network of `lucid.models` is made by its original library with random weights.
These go through an `.npz` file into Lucid's network of the same arguments. The table
has the largest difference between the two outputs.

    python examples/port_from_torch.py --checkpoint model.pt --network UNet \
        --arguments '{"spatial_dims": 3, "in_channels": 1, "out_channels": 2,
                      "channels": [16, 32, 64], "strides": [2, 2]}'

does the same with your own checkpoint. Lucid reads the file itself: only the comparison
needs these packages.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
import json
from pathlib import Path
import sys
import tempfile
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

NNUNET: dict[str, Any] = {
    "input_channels": 1,
    "n_stages": 3,
    "features_per_stage": [8, 16, 32],
    "conv_op": "Conv3d",
    "kernel_sizes": 3,
    "strides": [1, 2, 2],
    "num_classes": 3,
    "n_conv_per_stage_decoder": 1,
    "conv_bias": True,
    "norm_op": "InstanceNorm3d",
    "norm_op_kwargs": {"affine": True},
    "nonlin": "LeakyReLU",
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "UNet": {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 3,
        "channels": [8, 16, 32],
        "strides": [2, 2],
        "num_res_units": 2,
    },
    "SegResNet": {
        "spatial_dims": 3,
        "init_filters": 8,
        "in_channels": 1,
        "out_channels": 3,
    },
    "PlainConvUNet": NNUNET | {"n_conv_per_stage": 2},
    "ResidualEncoderUNet": NNUNET | {"n_blocks_per_stage": [1, 2, 2]},
}
NESTED = ("state_dict", "network_weights", "model_state_dict", "model")


def main() -> None:
    options = parse()
    if options.checkpoint is not None:
        arguments = options.arguments or ARGUMENTS[options.network]
        try:
            compare(options.network, arguments, options.checkpoint, options.size)
        except (TypeError, ValueError, KeyError) as error:
            sys.exit(str(error))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in ARGUMENTS.items():
            path = Path(folder) / f"{name}.npz"
            save_random_weights(name, arguments, path)
            compare(name, arguments, path, options.size)


def parse() -> argparse.Namespace:
    parser = command_line.Parser(
        prog="port_from_torch",
        description="Load weights from PyTorch into Lucid, and compare the outputs.",
    )
    parser.add_argument("--checkpoint", type=Path, help="your own checkpoint")
    parser.add_argument(
        "--network",
        choices=ARGUMENTS,
        default="UNet",
        help="the network of the checkpoint",
    )
    parser.add_argument(
        "--arguments", type=arguments_of, help="the network's arguments, as JSON"
    )
    parser.add_argument(
        "--size",
        type=command_line.whole(1),
        default=32,
        help="voxels an axis (default: 32)",
    )
    options = parser.parse_args()
    if options.checkpoint is not None and not options.checkpoint.exists():
        parser.error(f"no file {options.checkpoint}")
    return options


def arguments_of(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise argparse.ArgumentTypeError('not of the form {"name": value, ...}')
    return arguments


def original(name: str, arguments: Mapping[str, Any]) -> Any:
    """The network of the library it comes from, its weights drawn from one seed."""
    try:
        import torch

        torch.manual_seed(0)
        if name in ("UNet", "SegResNet"):
            from monai.networks import nets

            return getattr(nets, name)(**arguments).eval()
        from dynamic_network_architectures.architectures import unet
    except ImportError as error:
        sys.exit(
            f"{error}: the originals need "
            "pip install torch monai dynamic-network-architectures"
        )
    layers = {
        key: getattr(torch.nn, value)
        for key, value in arguments.items()
        if key in ("conv_op", "norm_op", "nonlin")
    }
    return getattr(unet, name)(**{**arguments, **layers}).eval()


def save_random_weights(name: str, arguments: Mapping[str, Any], path: Path) -> None:
    state = original(name, arguments).state_dict()
    import numpy as np

    np.savez(path, **{key: array.numpy() for key, array in state.items()})


def state_of(loaded: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict of a checkpoint, which may hold other things beside it."""
    for key in NESTED:
        if isinstance(loaded.get(key), Mapping):
            return state_of(loaded[key])
    return loaded


def compare(name: str, arguments: Mapping[str, Any], path: Path, size: int) -> None:
    """Print how far the outputs of Lucid and the original are apart, by one file."""
    theirs = original(name, arguments)
    import lucid
    from lucid import models
    import mlx.core as mx
    import numpy as np
    import torch

    weights = state_of(lucid.load(path))
    ours = getattr(models, name)(**arguments).eval()
    ours.load_state_dict(weights, cast=True)  # a file in half type too
    theirs.load_state_dict(
        {k: torch.tensor(np.array(v.astype(mx.float32))) for k, v in weights.items()}
    )
    channels = arguments.get("in_channels", arguments.get("input_channels", 1))
    shape = (1, channels, size, size, size)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with torch.no_grad():
        want = theirs(torch.tensor(x)).numpy()
    difference = np.abs(np.array(ours(mx.array(x))) - want).max()
    parameters = sum(array.size for _, array in ours.named_parameters())
    print(
        f"{name:18} {len(weights):4} keys, {parameters:9,} parameters: "
        f"outputs up to {np.abs(want).max():.2f}, {difference:.1e} apart"
    )


if __name__ == "__main__":
    command_line.run(main)
