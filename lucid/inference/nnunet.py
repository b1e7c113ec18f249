"""What nnU-Net does to a volume before its network, and to the prediction after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import os
from typing import Any

from lucid import _scipy
from lucid._types import Tensor, check_allocatable, check_real, shown
from lucid.inference.resampling import (
    new_shape,
    resampled_channel,
    separate_axis,
    sizes,
)
from lucid.models.plans import read_plans, settings_of
import mlx.core as mx
import numpy as np

_RESAMPLING = "resample_data_or_seg_to_shape"
_LEAST_DEVIATION = 1e-8  # nnU-Net's, in float32


@dataclass(frozen=True, eq=False)
class PreprocessedVolume:
    """A volume prepared for a network of nnU-Net, and the way back to its own grid.

    Attributes:
        data: (C, D, H, W), float32.
        patch_size: the window size that the network was trained with, for
            `sliding_window_inference`.
    """

    data: Tensor
    patch_size: tuple[int, ...]
    _spacing: tuple[float, ...] = field(repr=False)
    _plans: _Plans = field(repr=False)
    _box: tuple[slice, ...] = field(repr=False)
    _shape: tuple[int, ...] = field(repr=False)

    def segmentation(self, logits: Tensor) -> Tensor:
        """The labels of the original volume, on its own grid.

        Logits are resampled as the plans say. The label is that of the largest logit,
        or, if the data set's labels are regions, of the last region whose logit is
        positive. What was cropped becomes background.

        Args:
            logits: the network's prediction for `data`.

        Shape:
            - logits: (K, D, H, W)
            - output: (D, H, W) of the volume, uint8, or uint16 for labels over 255

        Raises:
            ValueError: logits of another shape.
        """
        check_real("logits", logits)
        plans, shape = self._plans, self.data.shape[1:]
        if logits.ndim != 4 or logits.shape[1:] != shape or logits.shape[0] == 0:
            raise ValueError(
                f"`logits` must be (K, {', '.join(map(str, shape))}), one for each "
                f"voxel of `data`, got shape {logits.shape}."
            )
        order = plans.regions_class_order
        if order is not None and len(order) != logits.shape[0]:
            raise ValueError(
                f"`logits` must have a channel for each of {len(order)} regions, got "
                f"shape {logits.shape}."
            )
        cropped = tuple(s.stop - s.start for s in self._box)
        highest = logits.shape[0] - 1 if order is None else max(order)
        labels = np.zeros(cropped, np.uint8 if highest < 256 else np.uint16)
        best = np.full(cropped, -np.inf, np.float32)
        # A channel at a time: many labels of a whole body exceed the memory together.
        for channel in range(logits.shape[0]):
            x = np.array(logits[channel].astype(mx.float32))
            x = plans.resampled(
                x, cropped, plans.spacing, self._spacing, "probabilities"
            )
            if order is None:
                labels[x > best] = channel
                best = np.maximum(x, best)
            else:
                labels[x > 0] = order[channel]
        whole = np.zeros(self._shape, labels.dtype)
        whole[self._box] = labels
        return mx.array(whole.transpose(np.argsort(plans.axes)))


def nnunet_preprocess(
    volume: Tensor,
    spacing: Sequence[float],
    plans: str | os.PathLike[str] | Mapping[str, Any],
    configuration: str = "3d_fullres",
    dataset: Mapping[str, Any] | None = None,
) -> PreprocessedVolume:
    """Crop, normalize and resample a volume as a trained nnU-Net expects it.

    The same as nnU-Net's `DefaultPreprocessor` with its default resampling: axes in the
    plans' order, a crop to what is not zero, a normalization for each channel, the
    plans' spacing. nnU-Net reads NIfTI files with axes (z, y, x): with nibabel,
    `np.asarray(image.dataobj).transpose()` and `image.header.get_zooms()[::-1]`.

    Args:
        volume: the channels that the network was trained with, in the same order.
        spacing: the size of a voxel along depth, height and width, in millimeters.
        plans: the path of `plans.json` or of its folder, or the file's contents.
        configuration: the network's configuration in the plans.
        dataset: contents of `dataset.json`; None to read it in the plans' folder.

    Shape:
        - volume: (C, D, H, W)

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument out of range, or plans that ask for what Lucid lacks.
        ImportError: if SciPy is not installed.

    Example:
        >>> import lucid
        >>> from lucid.inference import nnunet_preprocess
        >>> plans = {
        ...     "transpose_forward": [0, 1, 2],
        ...     "configurations": {"3d_fullres": {
        ...         "spacing": [2, 1, 1], "patch_size": [8, 8, 8],
        ...         "normalization_schemes": ["ZScoreNormalization"],
        ...         "use_mask_for_norm": [False]}}}
        >>> ready = nnunet_preprocess(lucid.rand(1, 16, 8, 8), (1, 1, 1), plans)
        >>> ready.data.shape
        (1, 8, 8, 8)
        >>> logits = lucid.rand(3, *ready.data.shape[1:])
        >>> ready.segmentation(logits).shape
        (16, 8, 8)
    """
    check_real("volume", volume)
    if volume.ndim != 4 or 0 in volume.shape:
        raise ValueError(
            f"`volume` must be (C, D, H, W) and hold voxels, got shape {volume.shape}."
        )
    read, beside = read_plans(plans)
    known = _Plans(read, configuration, beside if dataset is None else dataset)
    if len(known.schemes) != volume.shape[0]:
        raise ValueError(
            f"`volume` must have the plans' {len(known.schemes)} channels, got shape "
            f"{volume.shape}."
        )
    voxel = sizes("spacing", spacing)
    voxel = tuple(voxel[axis] for axis in known.axes)
    data = np.array(volume.astype(mx.float32))  # NumPy has no bfloat16
    data = data.transpose(0, *(axis + 1 for axis in known.axes))
    box, inside = _nonzero(data)
    cropped = data[(slice(None), *box)]
    target = new_shape(cropped.shape[1:], voxel, known.spacing)
    check_allocatable("`spacing`", (volume.shape[0], *target), 4)
    ready = [
        known.resampled(
            known.normalized(x, channel, inside), target, voxel, known.spacing, "data"
        )
        for channel, x in enumerate(cropped)
    ]
    return PreprocessedVolume(
        data=mx.array(np.stack(ready)),
        patch_size=known.patch_size,
        _spacing=voxel,
        _plans=known,
        _box=box,
        _shape=data.shape[1:],
    )


class _Plans:
    """What the plans of a configuration say of volumes."""

    def __init__(
        self, plans: Mapping[str, Any], configuration: str, dataset: Mapping[str, Any]
    ):
        settings = settings_of(plans, configuration)
        for name in ("spacing", "patch_size", "normalization_schemes"):
            if name not in settings:
                raise ValueError(f"`plans`: {configuration!r} has no {name!r}.")
        if len(settings["spacing"]) != 3 or settings.get("previous_stage") is not None:
            raise ValueError(
                f"`configuration` (={shown(configuration)}) must be of one stage and "
                "3-D."
            )
        self.spacing = sizes("spacing", settings["spacing"])
        self.patch_size = tuple(settings["patch_size"])
        self.axes = tuple(plans.get("transpose_forward", (0, 1, 2)))
        self.schemes = tuple(settings["normalization_schemes"])
        self._masked = settings.get("use_mask_for_norm", [False] * len(self.schemes))
        self._intensities = plans.get("foreground_intensity_properties_per_channel", {})
        self._settings = settings
        named = [v for k, v in dataset.get("labels", {}).items() if k != "ignore"]
        regions = any(isinstance(label, list) and len(label) > 1 for label in named)
        self.regions_class_order = (
            dataset.get("regions_class_order") if regions else None
        )
        if regions and self.regions_class_order is None:
            raise ValueError(
                "`dataset` must have `regions_class_order`: it has regions."
            )

    def normalized(self, x: np.ndarray, channel: int, inside: np.ndarray) -> np.ndarray:
        scheme = self.schemes[channel]
        if scheme == "NoNormalization":
            return x
        if scheme == "CTNormalization":
            known = self._intensities[str(channel)]
            x = np.clip(x, known["percentile_00_5"], known["percentile_99_5"])
            return (x - known["mean"]) / max(known["std"], _LEAST_DEVIATION)
        if scheme == "ZScoreNormalization":
            where = inside if self._masked[channel] else np.ones_like(inside)
            values = x[where]
            deviation = max(values.std(), _LEAST_DEVIATION)
            return np.where(where, (x - values.mean()) / deviation, x)
        if scheme == "RescaleTo01Normalization":
            x = x - x.min()
            return x / max(x.max(), _LEAST_DEVIATION)
        if scheme == "RGBTo01Normalization":
            return x / np.float32(255)
        raise ValueError(f"`plans`: Lucid has no normalization {shown(scheme)}.")

    def resampled(
        self,
        x: np.ndarray,
        shape: tuple[int, ...],
        spacing: tuple[float, ...],
        new_spacing: tuple[float, ...],
        what: str,
    ) -> np.ndarray:
        """`x` as the plans resample `what`: 'data' or 'probabilities'."""
        function = self._settings.get(f"resampling_fn_{what}", _RESAMPLING)
        if function != _RESAMPLING:
            raise ValueError(f"`plans`: Lucid has no resampling {shown(function)}.")
        default = {"order": 3 if what == "data" else 1, "order_z": 0}
        how = default | self._settings.get(f"resampling_fn_{what}_kwargs", {})
        axis = separate_axis(spacing, new_spacing, how.get("force_separate_z"))
        return resampled_channel(x, shape, how["order"], how["order_z"], axis)


def _nonzero(data: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box of what is not zero in any channel, and the filled mask of it inside."""
    mask = (data != 0).any(axis=0)
    if not mask.any():
        return tuple(slice(0, size) for size in mask.shape), ~mask
    box = tuple(slice(i.min(), i.max() + 1) for i in np.nonzero(mask))
    fill = _scipy.ndimage("nnunet_preprocess").binary_fill_holes
    return box, fill(mask[box])
