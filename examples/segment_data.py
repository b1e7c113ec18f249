"""Labelled volumes for `segment_tissue.py`: a template, NIfTI files, MedMNIST-3D."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
from nibabel.affines import apply_affine, voxel_sizes
import numpy as np
from packages import fetch
from scipy.ndimage import zoom
from volumes import VolumeError, read_voxels

NILEARN = "0.14.1"
MAPS = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True)
class Case:
    """A volume with its labels, in the order right, anterior, superior."""

    name: str
    image: np.ndarray  # (C, D, H, W) float32, of mean 0 and deviation 1
    labels: np.ndarray  # (D, H, W) uint8, in the image's grid; 0 is background
    places: list[np.ndarray]  # of each class that occurs: its voxels, (n, 3)
    truth: np.ndarray  # the labels in the file's own grid,
    affine: np.ndarray  # and where that is, in mm

    @property
    def spacing(self) -> np.ndarray:
        """The size of a voxel of `truth`, in mm."""
        return voxel_sizes(self.affine)


@dataclass(frozen=True)
class Data:
    train: list[Case]
    validation: list[Case]
    test: list[Case]
    classes: list[str]  # the first is background
    spacing: np.ndarray  # of the images, in mm
    about: str  # in words, what was learned from and what was not


def load_data(path: Path | None, spacing: float | None) -> Data:
    """The template, a folder of NIfTI files, or an `.npz` laid out as MedMNIST-3D's.

    Raises:
        VolumeError: if nothing can be learned from it.
    """
    if path is None:
        data = template(spacing)
    else:
        data = folder(path, spacing) if path.is_dir() else medmnist(path)
    parts = {"train": data.train, "validate": data.validation, "test": data.test}
    for name, cases in parts.items():
        if not any(case.places for case in cases):
            raise VolumeError(f"no voxel to {name} on has a label")
    if len({len(case.image) for cases in parts.values() for case in cases}) > 1:
        raise VolumeError("the images have different numbers of channels")
    return data


def make_case(
    name: str,
    image: np.ndarray,
    labels: np.ndarray,
    affine: np.ndarray,
    spacing: np.ndarray,
) -> Case:
    """Bring an image, (C, D, H, W), and its labels to the spacing to work in."""
    if image.shape[1:] != labels.shape:
        raise VolumeError(f"{name}: image {image.shape[1:]} but labels {labels.shape}")
    if not ((labels >= 0) & (labels < 256) & (labels % 1 == 0)).all():
        raise VolumeError(f"{name}: labels must be whole numbers from 0 to 255")
    truth = labels.astype(np.uint8)
    factors = voxel_sizes(affine) / spacing
    labels = truth
    if np.abs(factors - 1).max() > 0.01:
        image = _zoomed(image, (1, *factors), order=1)
        labels = _zoomed(truth, factors, order=0)
    classes = np.unique(labels)
    places = [np.argwhere(labels == c) for c in classes[classes > 0]]
    return Case(name, image, labels, places, truth, affine)


def normalized(name: str, image: np.ndarray) -> np.ndarray:
    """Each channel with mean 0 and deviation 1 where it is not 0."""
    image = np.nan_to_num(image.astype(np.float32), posinf=0, neginf=0)
    for channel in image:
        inside = channel[channel != 0]
        if inside.size == 0 or inside.std() == 0:  # a shape: no contrast but its own
            inside = channel
        if inside.std() == 0:
            raise VolumeError(f"{name}: an image without contrast")
        channel -= inside.mean()
        channel /= inside.std()
    return image


def _zoomed(volume: np.ndarray, factors: Any, order: int) -> np.ndarray:
    zoomed: Any = zoom(volume, factors, order=order)
    return zoomed


def template(spacing: float | None) -> Data:
    """Gray and white matter of the MNI152 head, an average of 152 people.

    The left hemisphere is for training and the right for the test. This template is
    symmetric: the right hemisphere is the left one's mirror image, to the last voxel.
    So the front third of the left one is kept for validation: its score is the one of
    anatomy never trained on, while two thirds of the test are trained anatomy mirrored.
    """
    files = [
        fetch("nilearn", NILEARN, MAPS.format(kind)) for kind in ("t1", "gm", "wm")
    ]
    images: list[Any] = [nib.load(file) for file in files]
    t1, gray, white = (np.asarray(image.dataobj).astype(int) for image in images)
    rest = 255 - gray - white
    labels = np.stack([rest, gray, white]).argmax(axis=0)
    affine = images[0].affine
    wanted = _wanted([voxel_sizes(affine)], spacing)

    (x0, y0, z0), ends = (f(np.argwhere(t1 > 0), axis=0) for f in (np.min, np.max))
    x1, y1, z1 = ends + 1
    middle, front = (x0 + x1) // 2, y1 - (y1 - y0) // 3
    boxes = {
        "left, behind": (slice(x0, middle), slice(y0, front), slice(z0, z1)),
        "left, front": (slice(x0, middle), slice(front, y1), slice(z0, z1)),
        "right hemisphere": (slice(middle + 1, x1), slice(y0, y1), slice(z0, z1)),
    }
    head = normalized("the template", t1[None])
    cases = []
    for name, box in boxes.items():
        moved = affine.copy()
        moved[:3, 3] = apply_affine(affine, [side.start for side in box])
        image = head[(slice(None), *box)]
        cases.append(make_case(name, image, labels[box], moved, wanted))
    classes = ["rest", "gray matter", "white matter"]
    about = (
        "MNI152, an average of 152 people: trained on the left hemisphere without its\n"
        "front third, which validates; tested on the right hemisphere, which in this\n"
        "template is the left one's mirror image"
    )
    train, validation, test = ([case] for case in cases)
    return Data(train, validation, test, classes, wanted, about)


def folder(path: Path, spacing: float | None) -> Data:
    """Images and labels of the same names: `images` and `labels`, or nnU-Net's.

    nnU-Net's folders are imagesTr, labelsTr and, for the test, imagesTs, labelsTs; its
    `name_0000.nii.gz`, `name_0001.nii.gz` are channels of `name`, as is a fourth axis.
    Every fifth case validates, and is the test where there is no other.
    """
    for images, labels in (("imagesTr", "labelsTr"), ("images", "labels")):
        if (path / images).is_dir() and (path / labels).is_dir():
            break
    else:
        raise VolumeError(
            f"{path} has neither images and labels nor imagesTr, labelsTr"
        )
    found = _files(path / images, path / labels)
    if len(found) < 2:
        raise VolumeError(f"{path} has {len(found)} labelled image: two are needed")
    tests = {}
    if (path / "labelsTs").is_dir():
        tests = _files(path / "imagesTs", path / "labelsTs")
    read = {name: _read(*files) for name, files in {**found, **tests}.items()}
    sizes = [voxel_sizes(read[name][2]) for name in found]
    wanted = _wanted(sizes, spacing)
    cases = {name: make_case(name, *parts, wanted) for name, parts in read.items()}
    names = sorted(found)
    held = names[4::5] or names[-1:]
    train = [cases[name] for name in names if name not in held]
    validation = [cases[name] for name in held]
    test = [cases[name] for name in sorted(tests)] or validation
    about = (
        f"{len(train)} images to train, {len(held)} to validate, {len(test)} to test"
    )
    return Data(train, validation, test, _class_names(train), wanted, about)


def _files(images: Path, labels: Path) -> dict[str, tuple[list[Path], Path]]:
    """By name, the files of each labelled image's channels and of its labels."""
    found = {}
    for label in sorted((*labels.glob("*.nii"), *labels.glob("*.nii.gz"))):
        name = label.name.partition(".nii")[0]
        channels = sorted(images.glob(f"{name}_[0-9][0-9][0-9][0-9].nii*"))
        channels = channels or sorted(images.glob(f"{name}.nii*"))
        if not channels:
            raise VolumeError(f"{label} has no image of its name in {images}")
        found[name] = channels, label
    return found


def _read(channels: list[Path], label: Path) -> tuple[np.ndarray, np.ndarray, Any]:
    """Image, (C, D, H, W), labels and affine, in RAS order."""
    arrays, affine = [], np.eye(4)
    for path in (*channels, label):
        image: Any = nib.as_closest_canonical(read_voxels(path)[1])
        voxels = np.asarray(image.dataobj).astype(np.float32)
        if voxels.ndim not in (3, 4) or 0 in voxels.shape:
            raise VolumeError(f"{path} has shape {voxels.shape}: a volume is wanted")
        # a fourth axis holds channels
        arrays.append(voxels[None] if voxels.ndim == 3 else np.moveaxis(voxels, -1, 0))
        affine = image.affine
        if not (voxel_sizes(affine) > 0).all():
            raise VolumeError(f"{path}: its header says no size of a voxel")
    *images, labels = arrays
    if len({array.shape[1:] for array in arrays}) > 1 or len(labels) != 1:
        raise VolumeError(f"{label} and its image have different shapes")
    image = normalized(str(channels[0]), np.concatenate(images))
    return image, labels[0], affine


def medmnist(path: Path) -> Data:
    """Volumes of MedMNIST-3D, or of any `.npz` with its names.

    Its labels are a class for each volume. Segmentation is made of them thus: voxels
    brighter than Otsu's threshold are of the volume's class, counted from 1. Labels of
    the images' own shape are taken voxel by voxel.
    """
    splits = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for split in ("train", "val", "test"):
                splits[split] = file[f"{split}_images"], file[f"{split}_labels"]
    except (OSError, EOFError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise VolumeError(f"{path} is no MedMNIST-3D file: {reason}") from error
    cases = {}
    for split, (images, labels) in splits.items():
        if images.ndim != 4 or not 0 < len(images) == len(labels):
            raise VolumeError(f"{path}: {split}_images of shape {images.shape}")
        if labels.shape != images.shape:
            labels = _painted(images, labels.reshape(len(images), -1)[:, 0])
        cases[split] = []
        for i, (image, mask) in enumerate(zip(images, labels, strict=True)):
            image = normalized(f"{split} {i}", image[None])
            case = make_case(f"{split} {i}", image, mask, np.eye(4), np.ones(3))
            cases[split].append(case)
    train, validation, test = cases.values()
    about = f"{len(train)} volumes to train, {len(validation)} to validate, {len(test)}"
    classes = _class_names(train)
    return Data(train, validation, test, classes, np.ones(3), f"{about} to test")


def _painted(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    from skimage.filters import threshold_otsu

    bright = [image > threshold_otsu(image) for image in images]
    return np.stack(bright) * (classes[:, None, None, None].astype(int) + 1)


def _class_names(cases: list[Case]) -> list[str]:
    highest = max(int(case.labels.max()) for case in cases)
    return ["background", *(f"class {i + 1}" for i in range(highest))]


def _wanted(found: list[np.ndarray], spacing: float | None) -> np.ndarray:
    """The voxels to work with: as asked for, or the median of what there is."""
    return np.median(found, axis=0) if spacing is None else np.full(3, spacing)
