"""nnU-Net's plans."""

from __future__ import annotations

import copy
import json

import lucid
from lucid.models import PlainConvUNet, ResidualEncoderUNet, nnunet_from_plans
import pytest

ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet."
    "PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[1, 3, 3], [3, 3, 3]],
        "strides": [[1, 1, 1], [1, 2, 2]],
        "n_conv_per_stage": [2, 2],
        "n_conv_per_stage_decoder": [2],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
PLANS = {
    "dataset_name": "Dataset004_Hippocampus",
    "configurations": {
        "2d": {
            "architecture": {
                **ARCHITECTURE,
                "arch_kwargs": {
                    **ARCHITECTURE["arch_kwargs"],
                    "conv_op": "torch.nn.modules.conv.Conv2d",
                },
            }
        },
        "3d_fullres": {"spacing": [1, 1, 1], "architecture": ARCHITECTURE},
        "3d_cascade_fullres": {
            "inherits_from": "3d_fullres",
            "previous_stage": "3d_lowres",
        },
        "circle": {"inherits_from": "circle"},
        "other": {"architecture": {**ARCHITECTURE, "network_class_name": "a.Primus"}},
    },
}
OLD = {
    "UNet_class_name": "ResidualEncoderUNet",
    "UNet_base_num_features": 4,
    "unet_max_num_features": 6,
    "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3]],
    "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2]],
    "n_conv_per_stage_encoder": [1, 2],
    "n_conv_per_stage_decoder": [1],
    "num_pool_per_axis": [1, 1, 1],
}


def folder(tmp_path, labels, channels=("T1",), **more):
    (tmp_path / "plans.json").write_text(json.dumps(PLANS))
    dataset = {
        "channel_names": {str(i): name for i, name in enumerate(channels)},
        "labels": labels,
        **more,
    }
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    return tmp_path / "plans.json"


def channels(net) -> tuple[int, int]:
    state = net.state_dict()
    first = state["encoder.stages.0.0.convs.0.conv.weight"].shape[1]
    return first, state["decoder.seg_layers.0.weight"].shape[0]


def test_a_folder_s_plans_give_its_network(tmp_path):
    path = folder(tmp_path, {"background": 0, "front": 1, "back": 2}, ("T1", "T2"))
    net = nnunet_from_plans(path)
    assert isinstance(net, PlainConvUNet)
    assert channels(net) == (2, 3)
    assert net(lucid.zeros(1, 2, 4, 8, 8)).shape == (1, 3, 4, 8, 8)
    assert channels(nnunet_from_plans(str(path), "3d_fullres")) == (2, 3)
    assert channels(nnunet_from_plans(path.parent)) == (2, 3)


@pytest.mark.parametrize(
    ("labels", "heads"),
    [
        ({"background": 0, "a": 1, "ignore": 2}, 2),
        ({"background": 0, "a": [1], "b": [2]}, 3),
        ({"background": 0, "whole": [1, 2], "core": [2]}, 2),
        ({"background": 0, "whole": [1, 2, 3], "core": [2, 3], "ignore": 4}, 2),
    ],
)
def test_heads_are_labels_or_regions(tmp_path, labels, heads):
    assert channels(nnunet_from_plans(folder(tmp_path, labels)))[1] == heads


def test_a_cascade_also_takes_the_labels_of_the_stage_before(tmp_path):
    path = folder(tmp_path, {"background": 0, "a": 1, "b": 2})
    assert channels(nnunet_from_plans(path, "3d_cascade_fullres")) == (3, 3)


def test_without_a_dataset_channels_are_lazy_and_classes_asked_for(tmp_path):
    path = tmp_path / "plans.json"
    path.write_text(json.dumps(PLANS))
    with pytest.raises(ValueError, match="`num_classes`"):
        nnunet_from_plans(path)
    net = nnunet_from_plans(path, num_classes=4)
    net(lucid.zeros(1, 5, 2, 4, 4))
    assert channels(net) == (5, 4)


def test_deep_supervision_is_for_training():
    x = lucid.zeros(1, 1, 2, 4, 4)
    assert nnunet_from_plans(PLANS, num_classes=2)(x).shape == (1, 2, 2, 4, 4)
    deep = nnunet_from_plans(PLANS, num_classes=2, deep_supervision=True)(x)
    assert [y.shape for y in deep] == [(1, 2, 2, 4, 4)]


def test_plans_before_2_4_spell_the_network_out():
    plans = {"configurations": {"3d_fullres": OLD}}
    net = nnunet_from_plans(plans, num_classes=2, input_channels=1)
    assert isinstance(net, ResidualEncoderUNet)
    state = net.state_dict()
    assert state["encoder.stages.1.blocks.0.conv1.conv.weight"].shape[:2] == (6, 4)
    plain = {"configurations": {"3d": {**OLD, "UNet_class_name": "PlainConvUNet"}}}
    assert isinstance(nnunet_from_plans(plain, "3d", num_classes=2), PlainConvUNet)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ("3d_lowres", "`configuration` .*'2d', '3d_fullres'"),
        ("circle", "`configuration`"),
        ("2d", "`conv_op`.*Conv2d"),
        ("other", "no network 'Primus'"),
    ],
)
def test_what_lucid_cannot_build_is_named(configuration, message):
    plans = copy.deepcopy(PLANS)
    with pytest.raises(ValueError, match=message):
        nnunet_from_plans(plans, configuration, num_classes=2)
