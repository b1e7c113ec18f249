"""Exported networks beside PyTorch: outputs, gradients, training, half types."""

from __future__ import annotations

from collections.abc import Callable
import copy
import functools
from pathlib import Path
import tempfile
from typing import Any
import warnings

from dynamic_network_architectures.architectures import unet
import lucid
from lucid import nn, optim
from lucid.program import Program
import mlx.core as mx
from mlx.utils import tree_flatten
from monai.networks import nets
import numpy as np
import pytest
import torch

from tests.metal_emulator import emulated_metal

NNUNET: dict[str, Any] = {
    "n_stages": 3,
    "features_per_stage": (4, 8, 8),
    "conv_op": torch.nn.Conv3d,
    "kernel_sizes": 3,
    "strides": (1, 2, 2),
    "num_classes": 2,
    "n_conv_per_stage_decoder": 1,
    "norm_op": torch.nn.InstanceNorm3d,
    "norm_op_kwargs": {"affine": True},
    "nonlin": torch.nn.LeakyReLU,
    "nonlin_kwargs": {"inplace": True},
    "deep_supervision": True,
}
Build = Callable[[], torch.nn.Module]
NETWORKS: dict[str, tuple[Build, int]] = {
    "UNet": (lambda: nets.UNet(3, 1, 2, (4, 8), (2,), num_res_units=1), 16),
    "BasicUNet": (lambda: nets.BasicUNet(3, 1, 2, (4, 4, 8, 8, 8, 4)), 32),
    "SegResNet": (lambda: nets.SegResNet(3, 8, 1, 2), 16),
    "SegResNetDS": (lambda: nets.SegResNetDS(3, 8, 1, 2, blocks_down=(1, 1, 1)), 16),
    "DynUNet": (
        lambda: nets.DynUNet(3, 1, 2, [3, 3, 3], [1, 2, 2], [2, 2], filters=[4, 8, 16]),
        16,
    ),
    "VNet": (lambda: nets.VNet(3, 1, 2), 32),
    "AttentionUnet": (lambda: nets.AttentionUnet(3, 1, 2, (4, 8, 8), (2, 2)), 16),
    "HighResNet": (lambda: nets.HighResNet(3, 1, 2), 16),
    "UNETR": (
        lambda: nets.UNETR(
            *(1, 2, (32, 32, 32)),
            feature_size=4,
            hidden_size=48,
            mlp_dim=64,
            num_heads=4,
        ),
        32,
    ),
    "SwinUNETR": (
        lambda: nets.SwinUNETR(
            1, 2, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2)
        ),
        64,
    ),
    "MedNeXt": (
        lambda: nets.MedNeXt(
            *(3, 4, 1, 2),
            encoder_expansion_ratio=2,
            decoder_expansion_ratio=2,
            bottleneck_expansion_ratio=2,
            blocks_down=(1, 1, 1, 1),
            blocks_bottleneck=1,
            blocks_up=(1, 1, 1, 1),
        ),
        32,
    ),
    "AutoencoderKL": (
        lambda: nets.AutoencoderKL(
            *(3, 1, 1, (1, 1), (8, 8), (False, True)),
            latent_channels=2,
            norm_num_groups=4,
        ),
        16,
    ),
    "ViT": (
        lambda: nets.ViT(
            *(1, (16, 16, 16), (8, 8, 8)),
            hidden_size=24,
            mlp_dim=32,
            num_layers=2,
            num_heads=4,
            classification=True,
            num_classes=3,
        ),
        16,
    ),
    "ResNet": (
        lambda: nets.resnet10(spatial_dims=3, n_input_channels=1, num_classes=2),
        32,
    ),
    "DenseNet": (
        lambda: nets.DenseNet(
            3, 1, 2, init_features=8, growth_rate=4, block_config=(2, 2)
        ),
        32,
    ),
    "SEResNet": (
        lambda: nets.SEResNet50(spatial_dims=3, in_channels=1, num_classes=2),
        32,
    ),
    "RegUNet": (lambda: nets.RegUNet(3, 1, 4, 2, out_channels=3), 16),
    "PlainConvUNet": (lambda: unet.PlainConvUNet(1, n_conv_per_stage=1, **NNUNET), 16),
    "ResidualEncoderUNet": (
        lambda: unet.ResidualEncoderUNet(1, n_blocks_per_stage=1, **NNUNET),
        16,
    ),
}
# The autoencoder's first output is drawn anew at every call.
DRAWN = {"AutoencoderKL": 1}


@functools.cache
def exported(name: str, training: bool) -> tuple[torch.nn.Module, bytes, torch.Tensor]:
    torch.manual_seed(0)
    build, size = NETWORKS[name]
    network = build().train(training)
    x = torch.randn(2 if training else 1, 1, size, size, size)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "net.pt2"
        torch.export.save(torch.export.export(copy.deepcopy(network), (x,)), path)
        return network, path.read_bytes(), x


def load(name: str, tmp_path: Path, training: bool = False) -> tuple[Any, Program, Any]:
    network, data, x = exported(name, training)
    (tmp_path / "net.pt2").write_bytes(data)
    return copy.deepcopy(network), lucid.load_program(tmp_path / "net.pt2"), x


def arrays(output: Any, name: str) -> list[Any]:
    """The outputs in order, nested ones too, without those that are drawn."""
    flat: list[Any] = []
    for entry in output if isinstance(output, tuple | list) else [output]:
        nested = isinstance(entry, tuple | list)
        flat += arrays(entry, "") if nested else [entry]
    return flat[DRAWN.get(name, 0) :]


def distance(got: mx.array, want: torch.Tensor) -> float:
    """The largest difference over the largest number."""
    expected = want.detach().float().numpy()
    scale = max(np.abs(expected).max(initial=0), 1e-6)
    return float(np.abs(np.array(got.astype(mx.float32)) - expected).max() / scale)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_outputs(name, training, tmp_path):
    network, program, x = load(name, tmp_path, training)
    assert program.training in (training, True)
    assert list(program.state_dict()) == list(network.state_dict())
    wants = arrays(network.eval()(x), name)
    gots = arrays(program.eval()(mx.array(x.numpy())), name)
    for got, want in zip(gots, wants, strict=True):
        assert distance(got, want) < 2e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_five_steps_of_training(name, tmp_path):
    network, program, x = load(name, tmp_path)
    network.eval()
    program.eval()
    inputs = mx.array(x.numpy())

    def loss(x: mx.array) -> mx.array:
        total = sum(out.square().mean() for out in arrays(program(x), name))
        return mx.log1p(total)  # some outputs are in the thousands

    step = nn.value_and_grad(program, loss)
    theirs = torch.optim.SGD(network.parameters(), lr=1e-2)
    ours = optim.SGD(learning_rate=1e-2)
    for i in range(5):
        theirs.zero_grad()
        outputs = arrays(network(x), name)
        want = torch.log1p(sum(out.square().mean() for out in outputs))
        want.backward()
        got, gradients = step(inputs)
        assert abs(got.item() / want.item() - 1) < 1e-3
        if i == 0:
            assert_gradients(program, gradients, network)
        theirs.step()
        ours.update(program, gradients)


def assert_gradients(program: Program, gradients: Any, network: Any) -> None:
    """Every parameter's, under its name; what PyTorch does not reach is 0 here."""
    by_tree = dict(tree_flatten(gradients))
    places = dict(tree_flatten(program.trainable_parameters()))
    found = {id(places[key]): gradient for key, gradient in by_tree.items()}
    ours = dict(program.named_parameters(remove_duplicate=False))
    largest = max(
        p.grad.abs().max().item() for p in network.parameters() if p.grad is not None
    )
    for name, parameter in network.named_parameters():
        gradient = found[id(ours[name])]
        if parameter.grad is None:
            assert not mx.any(gradient), name
            continue
        want = parameter.grad.numpy()
        error = np.abs(np.array(gradient) - want).max()
        # A bias before a norm has a gradient of zero, but for rounding.
        assert error < 2e-3 * np.abs(want).max() + 1e-5 * largest, (name, error)


@pytest.mark.parametrize(
    ("name", "modes"),
    [
        ("RegUNet", (True, False)),
        ("SegResNetDS", (True, False)),
        ("ResNet", (True,)),
        ("DenseNet", (True,)),
    ],
)
def test_a_step_in_training_mode_moves_running_statistics_alike(name, modes, tmp_path):
    for exported_in_training in modes:
        network, program, x = load(name, tmp_path, exported_in_training)
        network.train()
        program.train()
        wants = arrays(network(x), name)
        gots = arrays(program(mx.array(x.numpy())), name)
        for got, want in zip(gots, wants, strict=True):
            assert distance(got, want) < 1e-3
        state = program.state_dict()
        for buffer, want in network.named_buffers():
            counted = exported_in_training or not buffer.endswith("num_batches_tracked")
            if counted:
                assert distance(state[buffer], want) < 1e-3, buffer


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_half_types_lose_no_more_than_pytorch_s(name, dtype, tmp_path):
    network, program, x = load(name, tmp_path)
    wants = arrays(network.eval()(x), name)
    program.eval().to(dtype)
    ours = arrays(program(mx.array(x.numpy()).astype(getattr(mx, dtype))), name)
    half = getattr(torch, dtype)
    if any(isinstance(m, torch.nn.AvgPool3d) for m in network.modules()):
        theirs = [want * (1 + 2 * torch.finfo(half).eps ** 0.5) for want in wants]
    else:  # PyTorch has no average pool of half types on a CPU
        theirs = arrays(copy.deepcopy(network).to(half)(x.to(half)), name)
    for got, other, want in zip(ours, theirs, wants, strict=True):
        lost = distance(mx.array(other.detach().float().numpy()), want)
        assert distance(got, want) < 1.5 * lost + torch.finfo(half).eps


@pytest.mark.slow
@pytest.mark.parametrize("name", ["UNet", "SegResNet", "PlainConvUNet"])
def test_it_runs_on_an_emulated_gpu(name, tmp_path):
    network, program, x = load(name, tmp_path)
    x = x[..., :8, :8, :8]
    wants = arrays(network.eval()(x), name)
    with emulated_metal():
        gots = arrays(program.eval()(mx.array(x.numpy())), name)
        mx.eval(gots)
    for got, want in zip(gots, wants, strict=True):
        assert distance(got, want) < 2e-4


def test_sizes_that_were_exported_as_dynamic_are_read_at_the_call(tmp_path):
    class Pooled(torch.nn.Module):
        def forward(self, x):
            n, c, d, h, w = x.shape
            y = x.reshape(n, c, d * h * w).mean(dim=2)
            return torch.nn.functional.interpolate(x, size=(d * 2, h + 1, w // 2)), y

    auto = torch.export.Dim.AUTO
    x = torch.randn(2, 3, 4, 6, 8)
    sizes = dict.fromkeys((0, 2, 3, 4), auto)
    torch.export.save(
        torch.export.export(Pooled(), (x,), dynamic_shapes=(sizes,)), tmp_path / "a.pt2"
    )
    program = lucid.load_program(tmp_path / "a.pt2")
    other = torch.randn(1, 3, 5, 4, 10)
    for got, want in zip(
        program(mx.array(other.numpy())), Pooled()(other), strict=True
    ):
        assert distance(got, want) < 1e-5


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PyTorch's, of itself
def test_decomposed_programs_move_their_buffers(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3, bias=False))
    network.register_buffer("calls", torch.zeros(()))

    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network

        def forward(self, x):
            self.net.calls.add_(1)
            return self.net(x) * self.net.calls

    x = torch.randn(1, 1, 4, 4, 4)
    program = torch.export.export(Counting(), (x,)).run_decompositions({})
    torch.export.save(program, tmp_path / "a.pt2")
    ours = lucid.load_program(tmp_path / "a.pt2")
    ours.train()
    first, second = ours(mx.array(x.numpy())), ours(mx.array(x.numpy()))
    assert mx.allclose(second, 2 * first)
    assert ours.state_dict()["net.calls"].item() == 2
