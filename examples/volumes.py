"""Scans for the examples: reading, splitting, showing and writing them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
import zlib

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import nibabel as nib
from nibabel.filebasedimages import ImageFileError
import numpy as np

SMALLEST = 8  # voxels; thinner axes are extended, so that reflection has room

# What nibabel, NumPy and the decompressors raise for a file that is no scan.
_UNREADABLE = (OSError, EOFError, ValueError, TypeError, ImageFileError, zlib.error)


class VolumeError(ValueError):
    """A file that holds no scan to learn from."""


@dataclass(frozen=True)
class Scan:
    """A scan in two parts, intensities scaled to about [0, 1]."""

    train: np.ndarray  # (D, H, W), what the network learns from
    test: np.ndarray  # (D, H, W), what it never sees
    image: Any  # the NIfTI image of `test`: its affine, its header
    low: float  # the intensities that became 0 and 1
    high: float
    split: str  # in words, how the two parts were told apart


def load_scan(path: Path | None) -> Scan:
    """Read a scan; without a path, the brain scan that nibabel carries.

    A 4-D scan gives its first repeat for training and its second for the test; a 3-D
    one is cut in two across its longest axis.

    Raises:
        VolumeError: if the file cannot be read, or has nothing in it.
    """
    if path is None:
        with as_file(files("nibabel") / "tests" / "data" / "example4d.nii.gz") as own:
            return load_scan(own)
    voxels, image = read_voxels(path)
    if voxels.ndim not in (3, 4) or 0 in voxels.shape:
        raise VolumeError(f"{path} has shape {voxels.shape}: a scan is 3-D or 4-D")
    if voxels.ndim == 4:
        train, test, image = voxels[..., 0], voxels[..., 1], image.slicer[..., 1]
        split = "first repeat to train, second to test"
    else:
        axis = int(np.argmax(voxels.shape))
        half = voxels.shape[axis] // 2
        if half == 0:
            raise VolumeError(f"{path} has a single voxel")
        first = (slice(None),) * axis + (slice(half),)
        second = (slice(None),) * axis + (slice(half, None),)
        train, test, image = voxels[first], voxels[second], image.slicer[second]
        split = f"first half of axis {axis} to train, second to test"
    return _scaled(path, train, test, image, split)


def read_voxels(path: Path) -> tuple[np.ndarray, Any]:
    """The voxels of a scan as float32, trailing axes of one dropped, and its image.

    Raises:
        VolumeError: if the file cannot be read as a scan of real numbers.
    """
    try:
        image: Any = nib.load(path)
        if np.dtype(image.get_data_dtype()).kind not in "biuf":
            raise ValueError(
                f"its voxels are {image.get_data_dtype()}, not real numbers"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            voxels = np.asarray(image.dataobj).astype(np.float32)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise VolumeError(f"{path} cannot be read as a scan: {reason}") from error
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels, image = voxels[..., 0], image.slicer[..., 0]
    return voxels, image


def _scaled(
    path: Path, train: np.ndarray, test: np.ndarray, image: Any, split: str
) -> Scan:
    """The scan with the training part's 1st and 99.5th percentiles at 0 and 1."""
    finite = train[np.isfinite(train)]
    if finite.size == 0:
        raise VolumeError(f"{path} holds no finite number to train on")
    low, high = (float(v) for v in np.percentile(finite, (1, 99.5)))
    if not high > low:
        low, high = float(finite.min()), float(finite.max())
    if not high > low:
        raise VolumeError(f"{path} has no contrast where it is to be learned from")

    def scale(part: np.ndarray) -> np.ndarray:
        filled = np.where(np.isfinite(part), part, low)
        return ((filled - low) / (high - low)).astype(np.float32)

    return Scan(scale(train), scale(test), image, low, high, split)


def extended(volume: np.ndarray) -> np.ndarray:
    """The volume with thin axes repeated at their ends to `SMALLEST` voxels."""
    missing = [(0, max(0, SMALLEST - n)) for n in volume.shape]
    return np.pad(volume, missing, mode="edge")


def save_nifti(scan: Scan, volume: np.ndarray, path: Path) -> None:
    """Write a volume of the test part, at its place and in its intensities."""
    intensities = volume * (scan.high - scan.low) + scan.low
    header = scan.image.header.copy()
    header.set_data_dtype(np.float32)
    header.set_slope_inter(1, 0)
    nib.save(
        nib.Nifti1Image(intensities.astype(np.float32), scan.image.affine, header), path
    )


def save_picture(scan: Scan, volumes: dict[str, np.ndarray], path: Path) -> None:
    """Three orthogonal slices of each volume, and what was taken from the noisy one."""
    taken = volumes["noisy"] - volumes["denoised"]
    zooms = np.array(scan.image.header.get_zooms()[:3], float)
    extent = zooms * scan.test.shape  # mm
    planes = [("axial", 2, (0, 1)), ("coronal", 1, (0, 2)), ("sagittal", 0, (1, 2))]
    heights = [extent[up] for _, _, (_, up) in planes]
    scale = 2.6 / max(extent[across] for _, _, (across, _) in planes)
    columns = len(volumes) + 1
    fig, axes = plt.subplots(
        *(3, columns),
        figsize=(2.6 * columns + 0.6, scale * sum(heights) + 0.6),
        height_ratios=heights,
        layout="constrained",
    )
    limit = float(np.percentile(np.abs(taken), 99.5)) or 1.0
    gray: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
    signed: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    titles = [*volumes, "noise taken"]
    shown: Any = None
    for row, (plane, axis, (across, up)) in zip(axes, planes, strict=True):
        middle = scan.test.shape[axis] // 2
        for ax, volume in zip(row, [*volumes.values(), taken], strict=True):
            shown = ax.imshow(
                np.take(volume, middle, axis=axis).T,
                origin="lower",
                aspect=zooms[up] / zooms[across],
                **(signed if volume is taken else gray),
            )
            ax.set(xticks=[], yticks=[], frame_on=False)
        row[0].set_ylabel(f"{plane}, {middle}", fontsize=9)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=11)
    label = "share of the intensity range"
    fig.colorbar(shown, ax=axes[:, -1], shrink=0.8, label=label)
    fig.savefig(path, dpi=90)
    plt.close(fig)


def save_outline(voxels: np.ndarray, mask: np.ndarray, zooms: Any, path: Path) -> None:
    """Three orthogonal slices through a mask's middle, with its outline."""
    middle = [int(np.round(places.mean())) for places in np.nonzero(mask)]
    planes = [("axial", 2, (0, 1)), ("coronal", 1, (0, 2)), ("sagittal", 0, (1, 2))]
    fig, axes = plt.subplots(1, 3, figsize=(10, 4), layout="constrained")
    high = float(np.percentile(voxels, 99.5))
    for ax, (plane, axis, (across, up)) in zip(axes, planes, strict=True):
        ax.imshow(
            np.take(voxels, middle[axis], axis=axis).T,
            origin="lower",
            aspect=zooms[up] / zooms[across],
            cmap="gray",
            vmin=0,
            vmax=high,
        )
        ax.contour(
            np.take(mask, middle[axis], axis=axis).T.astype(float),
            levels=[0.5],
            colors="tab:red",
            linewidths=1.2,
        )
        ax.set(xticks=[], yticks=[], frame_on=False)
        ax.set_title(f"{plane}, {middle[axis]}", fontsize=11)
    fig.savefig(path, dpi=90)
    plt.close(fig)
