"""The network that nnU-Net's plans describe."""

from __future__ import annotations

from collections.abc import Mapping
import json
import os
from pathlib import Path
from typing import Any

from lucid._types import shown
from lucid.models.plain_conv_unet import PlainConvUNet
from lucid.models.residual_encoder_unet import ResidualEncoderUNet

_NETWORKS = {
    "PlainConvUNet": PlainConvUNet,
    "ResidualEncoderUNet": ResidualEncoderUNet,
}


def nnunet_from_plans(
    plans: str | os.PathLike[str] | Mapping[str, Any],
    configuration: str = "3d_fullres",
    num_classes: int | None = None,
    input_channels: int | None = None,
    deep_supervision: bool = False,
) -> PlainConvUNet | ResidualEncoderUNet:
    """The network of a folder that nnU-Net trained, without its weights.

    Its checkpoint is `lucid.load("fold_0/checkpoint_final.pth")["network_weights"]`.
    `lucid.inference.nnunet_preprocess` prepares volumes for it, as the plans say.

    Args:
        plans: the path of `plans.json` or of its folder, or the file's contents.
        configuration: '3d_fullres', '3d_lowres' or another 3-D one of the plans.
        num_classes: channels of the output; None to take them from `dataset.json` in
            the plans' folder.
        input_channels: channels of the input; None to take them from there, or without
            that file from the first input or the checkpoint.
        deep_supervision: whether to return an output of every level, as in training.

    Returns:
        A `PlainConvUNet` or a `ResidualEncoderUNet`.

    Raises:
        ValueError: a configuration that the plans lack, or a network that Lucid lacks.

    Example:
        >>> from lucid.models import nnunet_from_plans
        >>> plans = {"configurations": {"3d_fullres": {"architecture": {
        ...     "network_class_name": "architectures.unet.PlainConvUNet",
        ...     "arch_kwargs": {"n_stages": 2, "features_per_stage": [4, 8],
        ...         "conv_op": "torch.nn.modules.conv.Conv3d", "kernel_sizes": 3,
        ...         "strides": [1, 2], "n_conv_per_stage": 1,
        ...         "n_conv_per_stage_decoder": 1}}}}}
        >>> net = nnunet_from_plans(plans, num_classes=2, input_channels=1)
        >>> len(net.state_dict()) > 0
        True
    """
    plans, dataset = read_plans(plans)
    settings = settings_of(plans, configuration)
    if num_classes is None:
        if "labels" not in dataset:
            raise ValueError("`num_classes` is needed: no dataset.json beside `plans`.")
        num_classes = _heads(dataset["labels"])
    if input_channels is None and dataset:
        input_channels = _channels(dataset, settings)
    name, arguments = _architecture(settings)
    if name not in _NETWORKS:
        raise ValueError(
            f"`plans`: Lucid has no network {name!r}, only {', '.join(_NETWORKS)}."
        )
    return _NETWORKS[name](
        input_channels=input_channels,
        num_classes=num_classes,
        **{**arguments, "deep_supervision": deep_supervision},
    )


def read_plans(
    plans: str | os.PathLike[str] | Mapping[str, Any],
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The plans, and what `dataset.json` beside their file holds."""
    if isinstance(plans, Mapping):
        return plans, {}
    if not isinstance(plans, str | os.PathLike):
        raise TypeError(f"`plans` (={shown(plans)}) must be a path or a dict.")
    path = Path(plans)
    path = path / "plans.json" if path.is_dir() else path
    beside = path.with_name("dataset.json")
    dataset = json.loads(beside.read_text()) if beside.exists() else {}
    return json.loads(path.read_text()), dataset


def settings_of(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration's settings over those that it inherits from."""
    configurations = plans.get("configurations", {})
    settings: dict[str, Any] = {}
    seen: list[str] = []
    while name is not None:
        if name not in configurations or name in seen:
            known = ", ".join(map(repr, configurations))
            raise ValueError(
                f"`configuration` (={shown(name)}) must be one of {known}."
            )
        seen.append(name)
        settings = {**configurations[name], **settings}
        name = configurations[name].get("inherits_from")
    return settings


def _architecture(settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The network's name and arguments; plans before nnU-Net 2.4 spell them out."""
    if "architecture" in settings:
        described = settings["architecture"]
        name = described["network_class_name"].rpartition(".")[2]
        return name, dict(described["arch_kwargs"])
    name = settings.get("UNet_class_name")
    if name not in _NETWORKS:
        return str(name), {}
    counts = settings["n_conv_per_stage_encoder"]
    base, most = settings["UNet_base_num_features"], settings["unet_max_num_features"]
    per_stage = "conv" if name == "PlainConvUNet" else "blocks"
    return name, {
        "n_stages": len(counts),
        "features_per_stage": [min(base * 2**i, most) for i in range(len(counts))],
        "conv_op": f"Conv{len(settings['conv_kernel_sizes'][0])}d",
        "kernel_sizes": settings["conv_kernel_sizes"],
        "strides": settings["pool_op_kernel_sizes"],
        f"n_{per_stage}_per_stage": counts,
        "n_conv_per_stage_decoder": settings["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": "InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "LeakyReLU",
    }


def _heads(labels: Mapping[str, Any]) -> int:
    """A channel for each label; where labels overlap, for each region but air."""
    named = {name: label for name, label in labels.items() if name != "ignore"}
    as_sets = [
        set(label) if isinstance(label, list) else {label} for label in named.values()
    ]
    if any(isinstance(label, list) and len(label) > 1 for label in named.values()):
        return sum(values != {0} for values in as_sets)
    return len(set().union(*as_sets))


def _channels(dataset: Mapping[str, Any], settings: Mapping[str, Any]) -> int:
    """A channel for each modality, in a cascade for each label of the stage before."""
    count = len(dataset.get("channel_names") or dataset["modality"])
    if settings.get("previous_stage") is not None:
        foreground = {k: v for k, v in dataset["labels"].items() if k != "background"}
        count += _heads(foreground)
    return count
