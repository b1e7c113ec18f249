"""The brain extraction's own arithmetic, without its weights."""

from __future__ import annotations

from pathlib import Path
import sys

import mlx.core as mx
import nibabel as nib
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield __import__("extract_brain")
    sys.modules.pop("extract_brain")


def test_the_network_gives_probabilities_of_the_input_s_size(example):
    y = example.LinkNet()(mx.random.normal((1, 1, 64, 32, 64)))
    assert y.shape == (1, 2, 64, 32, 64)
    assert mx.allclose(y.sum(axis=1), mx.ones((1, 64, 32, 64)), atol=1e-5)


def test_the_largest_component_is_kept_corners_touching(example):
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = True  # one, by its corners
    mask[5, 5, 4:] = True
    kept = example.largest_component(mask)
    assert kept.sum() == 3
    assert kept[1, 1, 1]
    with pytest.raises(SystemExit, match="no brain"):
        example.largest_component(np.zeros((2, 2, 2), bool))


def test_the_box_has_a_tenth_more_at_each_side_and_stays_inside(example):
    mask = np.zeros((10, 10, 10), bool)
    mask[4:6, 2:8, 0:10] = True
    box = example.box_of(mask, (100, 50, 20))
    assert box == (slice(38, 62), slice(7, 43), slice(0, 20))


def test_files_are_written_in_the_scan_s_own_orientation(example, tmp_path):
    voxels = np.arange(60.0, dtype=np.float32).reshape(3, 4, 5)
    affine = np.diag([-1.0, 2.0, 1.0, 1.0])[[1, 0, 2, 3]]
    image = nib.Nifti1Image(voxels, affine)
    head = nib.as_closest_canonical(image)
    turned = np.asarray(head.dataobj)
    mask = turned > 30
    example.write(tmp_path, image, head, turned, mask)
    written = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    assert (written == (voxels > 30)).all()
    brain = nib.load(tmp_path / "brain.nii.gz")
    assert (np.asarray(brain.dataobj) == voxels * (voxels > 30)).all()
    assert (brain.affine == affine).all()
    assert (tmp_path / "brain.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "2"], "out of range"),
        (["--volume", "missing.nii"], "cannot be read"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(arguments, message, example, capsys):
    with pytest.raises(SystemExit) as error:
        example.main(arguments)
    assert message in f"{error.value}{capsys.readouterr().err}"
