"""The networks that `benchmark_training.py` trains, alike in Lucid and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
import importlib
from typing import Any, NamedTuple

from benchmark_layer_cases import dice_and_cross_entropy
import lucid
from lucid import nn, optim
import mlx.core as mx

CLASSES = 4
ADAM_RATE, SGD_RATE = 1e-4, 1e-3


def unet(library: Any) -> Any:
    """A 3-D U-Net of three levels, in either library: they share the names.

    Args:
        library: `lucid` or `torch`.
    """
    nn = library.nn

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
            self.up = nn.Upsample(scale_factor=2)  # nearest

        def forward(self, x: Any) -> Any:  # (N, 1, D, H, W)
            fine = self.down1(x)  # (N, 16, D, H, W)
            middle = self.down2(fine)  # (N, 32, D / 2, H / 2, W / 2)
            coarse = self.bottom(middle)  # (N, 64, D / 4, H / 4, W / 4)
            middle = self.up2(library.cat([self.up(coarse), middle], 1))
            return self.out(self.up1(library.cat([self.up(middle), fine], 1)))

    return UNet()


def lucid_unet() -> nn.Module:
    return unet(lucid)


def torch_unet() -> Any:
    return unet(importlib.import_module("torch"))


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


def block(nn: Any, before: int, after: int, stride: int = 1) -> list[Any]:
    """nnU-Net's: convolution, instance norm, LeakyReLU."""
    return [
        nn.Conv3d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.InstanceNorm3d(after, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    ]


def nnunet(library: Any) -> Any:
    """Like nnU-Net's: three levels, two blocks each, deep supervision of two outputs.

    Args:
        library: `lucid` or `torch`: they share the names.
    """
    nn = library.nn

    def stage(before: int, after: int, stride: int = 1) -> Any:
        return nn.Sequential(
            *block(nn, before, after, stride), *block(nn, after, after)
        )

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1, self.down2 = stage(1, 16), stage(16, 32, 2)
            self.bottom = stage(32, 64, 2)
            self.up2 = nn.ConvTranspose3d(64, 32, 2, 2)
            self.up1 = nn.ConvTranspose3d(32, 16, 2, 2)
            self.decode2, self.decode1 = stage(64, 32), stage(32, 16)
            self.head2 = nn.Conv3d(32, CLASSES, 1)
            self.head1 = nn.Conv3d(16, CLASSES, 1)

        def forward(self, x: Any) -> list[Any]:  # (N, 1, D, H, W)
            fine = self.down1(x)
            middle = self.down2(fine)
            coarse = self.bottom(middle)
            middle = self.decode2(library.cat([self.up2(coarse), middle], 1))
            fine = self.decode1(library.cat([self.up1(middle), fine], 1))
            return [self.head1(fine), self.head2(middle)]

    return Net()


def monai_unet(library: Any) -> Any:
    """Like MONAI's UNet: residual units, strided; transposed k3 s2 on the way up."""
    nn = library.nn

    def unit(before: int, after: int, stride: int = 1) -> list[Any]:
        return [
            nn.Conv3d(before, after, 3, stride=stride, padding=1, bias=False),
            nn.InstanceNorm3d(after),
            nn.PReLU(),
        ]

    class Residual(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv = nn.Sequential(*unit(before, after, stride), *unit(after, after))
            self.residual = nn.Conv3d(before, after, 3, stride=stride, padding=1)

        def forward(self, x: Any) -> Any:
            return self.conv(x) + self.residual(x)

    def up(before: int, after: int) -> Any:
        return nn.Sequential(
            nn.ConvTranspose3d(before, after, 3, 2, 1, 1, bias=False),
            nn.InstanceNorm3d(after),
            nn.PReLU(),
            *unit(after, after),
        )

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1, self.down2 = Residual(1, 16, 2), Residual(16, 32, 2)
            self.bottom = Residual(32, 64, 1)
            self.up2, self.up1 = up(96, 16), up(32, 16)
            self.head = nn.Conv3d(16, CLASSES, 3, padding=1)

        def forward(self, x: Any) -> list[Any]:  # (N, 1, D, H, W)
            fine = self.down1(x)
            middle = self.down2(fine)
            middle = library.cat([middle, self.bottom(middle)], 1)
            fine = library.cat([fine, self.up2(middle)], 1)
            return [self.head(self.up1(fine))]

    return Net()


def mean_square(functional: Any, output: Any, target: Any) -> Any:
    return functional.mse_loss(output, target)


def deep_dice_and_cross_entropy(functional: Any, outputs: Any, target: Any) -> Any:
    """Of each output by a half of the one before; labels take the nearest voxel's.

    Args:
        functional: a library's functions.
        outputs: logits, the finest first.
        target: class indices as floats, (N, 1, D, H, W).
    """
    total = 0.0
    for level, output in enumerate(outputs):
        size = tuple(output.shape[2:])
        labels = functional.interpolate(target, size, mode="nearest-exact")[:, 0]
        is_lucid = isinstance(labels, mx.array)
        labels = labels.astype(mx.int32) if is_lucid else labels.long()
        loss = dice_and_cross_entropy(functional, output, labels)
        total = total + 0.5**level * loss
    return total


class Network(NamedTuple):
    """A network in both libraries, and how it is trained.

    Attributes:
        shape: of a batch, (N, 1, D, H, W).
        in_lucid: makes it.
        in_torch: likewise.
        loss: of a library's functions, the output and the target.
        segments: whether the target is classes, trained by SGD with Nesterov momentum;
            else it is numbers, trained by Adam.
        tolerance: how far gradients may differ, of each one's largest value: float32,
            through up to eleven layers, or through kinks and norms.
    """

    shape: tuple[int, ...]
    in_lucid: Callable[[], nn.Module]
    in_torch: Callable[[], Any]
    loss: Callable[[Any, Any, Any], Any] = mean_square
    segments: bool = False
    tolerance: float = 1e-3


def lucid_optimizer(network: Network) -> Any:
    if network.segments:
        return optim.SGD(SGD_RATE, momentum=0.99, nesterov=True)
    return optim.Adam(ADAM_RATE, bias_correction=True)


def torch_optimizer(network: Network, model: Any) -> Any:
    torch = importlib.import_module("torch")
    if network.segments:
        parameters = model.parameters()
        return torch.optim.SGD(parameters, SGD_RATE, momentum=0.99, nesterov=True)
    return torch.optim.Adam(model.parameters(), ADAM_RATE)


def segmenting(shape: tuple[int, ...], make: Callable[[Any], Any]) -> Network:
    """A network that segments, made by a function of the library."""
    return Network(
        shape,
        lambda: make(lucid),
        lambda: make(importlib.import_module("torch")),
        deep_dice_and_cross_entropy,
        segments=True,
        # At the kinks PyTorch's own float32 is 2.2e-2 away from float64.
        tolerance=4e-2,
    )


NETWORKS = {
    "unet-32": Network((1, 1, 32, 32, 32), lucid_unet, torch_unet),
    "denoiser": Network((2, 1, 16, 16, 16), lucid_denoiser, torch_denoiser),
    "unet-64": Network((1, 1, 64, 64, 64), lucid_unet, torch_unet),
    "nnunet-32": segmenting((2, 1, 32, 32, 32), nnunet),
    "nnunet-64": segmenting((1, 1, 64, 64, 64), nnunet),
    "monai-32": segmenting((2, 1, 32, 32, 32), monai_unet),
    "monai-64": segmenting((1, 1, 64, 64, 64), monai_unet),
}
