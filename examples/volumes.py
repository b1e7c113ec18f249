"""Scans for the examples: reading, splitting, showing and writing them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any
import zlib

import numpy as np

SMALLEST = 8  # voxels; thinner axes are extended, so that reflection has room

# What nibabel, NumPy and the decompressors raise for a file that is no scan.
_UNREADABLE = (OSError, EOFError, ValueError, TypeError, ImportError, zlib.error)

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")


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

    The image is NIfTI, whatever the file is: MGH, MINC, Analyze, PAR/REC, ...

    Raises:
        VolumeError: if the file is no scan, 3-D or 4-D, of real numbers; says what to
            do where something can be done.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import SpatialImage

    try:
        image: Any = nib.load(path)
        if not isinstance(image, SpatialImage):
            raise ValueError("it holds no voxels")
        if np.dtype(image.get_data_dtype()).kind not in "biuf":
            raise ValueError(
                f"its voxels are {image.get_data_dtype()}, not real numbers"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            voxels = np.asarray(image.dataobj).astype(np.float32)
    except (*_UNREADABLE, ImageFileError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        told = _advice(path, error) or f"cannot be read as a scan: {reason}"
        raise VolumeError(f"{path} {told}") from error
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    is_minc = isinstance(image, nib.Minc1Image)  # its repeats come first
    if voxels.ndim not in (3, 4) or 0 in voxels.shape or (is_minc and voxels.ndim > 3):
        convert = " (in NIfTI's order: convert it with mnc2nii)" if is_minc else ""
        raise VolumeError(
            f"{path} has shape {image.shape}: a scan is 3-D, or 4-D with repeats "
            f"last{convert}"
        )
    header = nib.Nifti1Header.from_header(image.header, check=False)
    header.set_data_dtype(np.float32)
    return voxels, nib.Nifti1Image(voxels, image.affine, header)


def _advice(path: Path, error: Exception) -> str:
    """What to do about a file that nibabel cannot read, if it is a known kind."""
    if path.is_dir():
        return (
            "is a folder: name a file in it, or if these are DICOM files make one of "
            f"them: dcm2niix -z y -o . {path}"
        )
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".ima"):
        return (
            "is DICOM, one slice of a scan: make a NIfTI file of its folder, "
            f"dcm2niix -z y -o . {path.parent}"
        )
    if path.suffix.lower() in _PICTURES:
        return (
            "is a 2-D picture, and a scan is 3-D: stack its slices in one array and "
            "save that with nibabel, as NIfTI"
        )
    if path.suffix == ".npy":
        return (
            "is an array without voxel sizes: nibabel.save(nibabel.Nifti1Image(array, "
            "affine), 'scan.nii.gz') makes a scan of it"
        )
    if isinstance(error, ImportError):
        return f"needs h5py to be read: pip install h5py, or mnc2nii {path} makes NIfTI"
    is_short = isinstance(error, EOFError | zlib.error) or "got" in str(error)
    return "ends too early, or is damaged: copy or download it again" * is_short


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
    import nibabel as nib

    intensities = volume * (scan.high - scan.low) + scan.low
    header = scan.image.header.copy()
    header.set_slope_inter(1, 0)
    nib.save(
        nib.Nifti1Image(intensities.astype(np.float32), scan.image.affine, header), path
    )


def save_picture(scan: Scan, volumes: dict[str, np.ndarray], path: Path) -> None:
    """Three orthogonal slices of each volume, and what was taken from the noisy one."""
    import lucid

    taken = volumes["noisy"] - volumes["denoised"]
    shown = {title: volume.T for title, volume in volumes.items()}  # z first
    spacing = scan.image.header.get_zooms()[2::-1]
    figure: Any = lucid.plot.slices(
        {**shown, "noise taken": taken.T}, spacing=spacing, vmin=0, vmax=1
    )
    limit = float(np.percentile(np.abs(taken), 99.5)) or 1.0
    last = figure.axes[len(volumes) :: len(volumes) + 1]
    for ax in last:
        ax.images[0].set(cmap="RdBu_r", clim=(-limit, limit))
    figure.colorbar(last[0].images[0], ax=last, shrink=0.8, label="share of the range")
    figure.savefig(path, dpi=90)
