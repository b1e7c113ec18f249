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
from scipy.ndimage import zoom
from segment_data import Case, Data


def predict(network: Any, case: Case, patch: int) -> np.ndarray:
    """The class of each voxel of the case's own grid, window by window.

    Windows are larger than the patches were. One that lies in nothing but empty space
    is a guess, as InstanceNorm finds no contrast there, and larger ones seldom do.
    """
    network.eval()
    scores = sliding_window_inference(
        *(mx.array(case.image)[None], patch + 16, 4),
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
    """Three orthogonal slices with the true outlines, and with the predicted."""
    image: Any = case.image[0]
    if image.shape != case.truth.shape:
        image = zoom(image, np.divide(case.truth.shape, image.shape), order=1)
    figure: Any = lucid.plot.slices(
        {"true": image.T, "predicted": image.T},  # z first
        {"true": case.truth.T, "predicted": prediction.T},
        case.spacing[::-1].tolist(),
    )
    # the colors in which plot.slices outlines classes 1, 2 ...
    lines = [Line2D([], [], color=f"C{(i + 3) % 10}") for i in range(len(classes) - 1)]
    figure.legend(lines, classes[1:], loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=150)


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
        color = f"C{(i + 3) % 10}"
        right.plot(steps, values, "o-", markersize=3, color=color, label=name)
    right.set(xlabel="step", ylabel="Dice", title="validation", ylim=(0, 1))
    right.legend(frameon=False, loc="lower right", ncols=1 + len(data.classes) // 8)
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
    fig.savefig(path, dpi=90)
    plt.close(fig)
