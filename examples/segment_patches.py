"""Patches of labelled volumes for `segment_tissue.py`, changed at random."""

from __future__ import annotations

import numpy as np
from segment_data import Case

FOREGROUND = 1 / 3  # of the patches are centered on a voxel of some class


def draw_batch(
    cases: list[Case], count: int, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Augmented random patches, (N, C, D, H, W), and their labels, (N, 1, D, H, W)."""
    pairs = [
        draw_patch(cases[rng.integers(len(cases))], size, rng) for _ in range(count)
    ]
    images, labels = zip(*pairs, strict=True)
    return np.stack(images), np.stack(labels)[:, None]


def draw_patch(
    case: Case, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    shape = np.array(case.labels.shape)
    room = np.maximum(shape - size, 0)
    corner = rng.integers(0, room, endpoint=True)
    if case.places and rng.random() < FOREGROUND:
        places = case.places[rng.integers(len(case.places))]
        corner = np.clip(places[rng.integers(len(places))] - size // 2, 0, room)
    box = tuple(slice(start, start + size) for start in corner)
    missing = [(0, n) for n in np.maximum(size - shape, 0)]
    image = np.pad(case.image[(slice(None), *box)], [(0, 0), *missing])
    labels = np.pad(case.labels[box], missing)
    return augmented(image, labels, rng)


def augmented(
    image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Flipped along any axis; sometimes with noise; sometimes with another contrast."""
    flips = tuple(axis for axis in range(3) if rng.random() < 0.5)
    image = np.flip(image, tuple(1 + axis for axis in flips))
    labels = np.flip(labels, flips)
    if rng.random() < 0.15:
        noise = rng.standard_normal(image.shape, np.float32)
        image = image + np.float32(rng.uniform(0, 0.1)) * noise
    if rng.random() < 0.3:
        gamma = np.float32(rng.uniform(0.7, 1.5))
        low, high = image.min(), image.max()
        spread = max(high - low, np.float32(1e-6))
        image = ((image - low) / spread) ** gamma * spread + low
    return image, labels
