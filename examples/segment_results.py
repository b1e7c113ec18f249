"""How good a segmentation is, for `segment_tissue.py`: scores, files and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lucid
from lucid.inference import sliding_window_inference
import lucid.nn.functional as F
import matplotlib

matplotlib.use("Agg")

from matplotlib.lines import Line2D
import matplotlib.pyplot as plt
import mlx.core as mx
import nibabel as nib
import numpy as np
from segment_data import Case, Data

COLORS = [f"C{i}" for i in range(10)]
PLANES = (("axial", 2, (0, 1)), ("coronal", 1, (0, 2)), ("sagittal", 0, (1, 2)))


def predict(network: Any, case: Case, patch: int) -> np.ndarray:
    """The class of each voxel of the case's own grid, window by window."""
    network.eval()
    scores = sliding_window_inference(
        *(mx.array(case.image)[None], patch, 4),
        lambda windows: network(windows)[0],  # the finest of the outputs
        mode="gaussian",
    )
    network.train()
    if scores.shape[2:] != case.truth.shape:
        scores = F.interpolate(scores, case.truth.shape, mode="trilinear")
    return np.array(scores[0].argmax(axis=0).astype(mx.uint8))


def dice(prediction: np.ndarray, case: Case, classes: int) -> np.ndarray:
    """Of each class but the background; NaN for one that the case lacks."""
    pair = (mx.array(volume)[None, None] for volume in (prediction, case.truth))
    score = lucid.metrics.dice(*pair, include_background=False, num_classes=classes)
    return np.array(score[0])


def distance(prediction: np.ndarray, case: Case, classes: int) -> np.ndarray:
    """What 95 % of a class's surfaces, of prediction and truth, are within, in mm."""
    numbers = np.arange(1, classes)[:, None, None, None]
    pair = (mx.array(v == numbers)[None] for v in (prediction, case.truth))
    found = lucid.metrics.hausdorff_distance(
        *pair, include_background=True, percentile=95, spacing=case.spacing.tolist()
    )
    return np.array(found[0])


def average(rows: list[np.ndarray]) -> np.ndarray:
    """The mean of each column's numbers; NaN where there is none."""
    table = np.array(rows)
    there = ~np.isnan(table)
    sums = np.where(there, table, 0).sum(axis=0)
    return np.where(there.any(axis=0), sums / np.maximum(there.sum(axis=0), 1), np.nan)


def report(network: Any, data: Data, patch: int, out: Path, write: bool) -> None:
    """Score the test cases, print a table, and show the first one."""
    count, scores, distances = len(data.classes), [], []
    for i, case in enumerate(data.test):
        prediction = predict(network, case, patch)
        scores.append(dice(prediction, case, count))
        apart = distance(prediction, case, count)
        distances.append(np.where(np.isnan(scores[-1]), np.nan, apart))
        if write:
            image: Any = nib.Nifti1Image(prediction, case.affine)
            nib.save(image, out / f"{case.name.replace(' ', '_')}.nii.gz")
        if i == 0:
            save_slices(case, prediction, data.classes, out / "slices.png")
    print(f"\n{'test':16}{'Dice':>7}{'95 % of surface within':>25}")
    for name, *row in zip(
        data.classes[1:], average(scores), average(distances), strict=True
    ):
        print(f"{name:16}{row[0]:7.3f}{row[1]:22.1f} mm")
    print(f"{'mean':16}{np.nanmean(average(scores)):7.3f}")


def save_slices(
    case: Case, prediction: np.ndarray, classes: list[str], path: Path
) -> None:
    """Three orthogonal slices: bare, with the true outlines, with the predicted."""
    zooms, truth = case.spacing, case.truth
    middle = [int(np.median(places)) for places in np.nonzero(truth)] or [0, 0, 0]
    image = case.image[0]
    low, high = np.percentile(image, (1, 99.5))
    extent = zooms * truth.shape
    columns = {"image": None, "true": truth, "predicted": prediction}
    widest = max(extent[across] for _, _, (across, _) in PLANES)
    heights = [3.0 * extent[up] / widest for _, _, (_, up) in PLANES]
    fig, axes = plt.subplots(
        *(3, 3),
        figsize=(9.6, sum(heights) + 0.9),
        height_ratios=heights,
        layout="constrained",
    )
    for row, (plane, axis, (across, up)) in zip(axes, PLANES, strict=True):
        share = middle[axis] / truth.shape[axis]
        at = int(share * image.shape[axis])  # which may have voxels of another size
        for ax, labels in zip(row, columns.values(), strict=True):
            ax.imshow(
                np.take(image, at, axis=axis).T,
                origin="lower",
                extent=(0, extent[across], 0, extent[up]),
                cmap="gray",
                vmin=low,
                vmax=high,
            )
            if labels is not None:
                _outline(ax, np.take(labels, middle[axis], axis).T, extent, across, up)
            ax.set(xticks=[], yticks=[], frame_on=False)
        row[0].set_ylabel(f"{plane}, {middle[axis]}", fontsize=9)
    for ax, title in zip(axes[0], columns, strict=True):
        ax.set_title(title, fontsize=11)
    lines = [Line2D([], [], color=COLORS[i % 10]) for i in range(len(classes) - 1)]
    fig.legend(lines, classes[1:], loc="outside lower center", ncols=4, frameon=False)
    fig.savefig(path, dpi=90)
    plt.close(fig)


def _outline(ax: Any, labels: np.ndarray, extent: Any, across: int, up: int) -> None:
    rows, columns = labels.shape
    x = (np.arange(columns) + 0.5) * extent[across] / columns
    y = (np.arange(rows) + 0.5) * extent[up] / rows
    for number in np.unique(labels[labels > 0]):
        if min(labels.shape) > 1 and (labels != number).any():
            color = COLORS[(number - 1) % 10]
            mask = (labels == number).astype(float)
            ax.contour(x, y, mask, levels=[0.5], colors=[color], linewidths=0.9)


def save_curves(
    losses: list[float],
    steps: list[int],
    scores: list[list[float]],
    data: Data,
    path: Path,
) -> None:
    """The loss of each step, and the Dice of each validation."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
    left.plot(range(1, len(losses) + 1), losses, color="0.8", linewidth=0.8)
    width = max(1, min(20, len(losses) // 4))
    smooth = np.convolve(losses, np.full(width, 1 / width), "valid")
    left.plot(range(width, len(losses) + 1), smooth, color="tab:blue")
    left.set(xlabel="step", ylabel="loss", title="training")
    for i, name in enumerate(data.classes[1:]):
        values = [score[i] for score in scores]
        right.plot(steps, values, "o-", markersize=3, color=COLORS[i % 10], label=name)
    right.set(xlabel="step", ylabel="Dice", title="validation", ylim=(0, 1))
    right.legend(frameon=False, loc="lower right", ncols=1 + len(data.classes) // 8)
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=90)
    plt.close(fig)
