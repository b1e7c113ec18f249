"""Scans of every kind are read, or one line says what to do with the file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NIBABELS = Path(str(files("nibabel"))) / "tests" / "data"


@pytest.fixture
def volumes(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return __import__("volumes")


@pytest.mark.parametrize(
    "name", ["test.mgz", "tiny.mnc", "phantom_EPI_asc_CLEAR_2_1.PAR", "functional.nii"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of nibabel's about PAR files
def test_what_nibabel_reads_is_written_as_nifti_at_its_place(volumes, tmp_path, name):
    scan = volumes.load_scan(NIBABELS / name)
    volumes.save_nifti(scan, scan.test, tmp_path / "out.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz")
    theirs = nib.load(NIBABELS / name)
    whole = np.asarray(theirs.dataobj)
    size = np.array(whole.shape[:3])
    want = whole[..., 1] if whole.ndim == 4 else None
    start = np.zeros(3)
    if want is None:
        axis = int(size.argmax())
        start[axis] = size[axis] // 2
        want = np.split(whole, [int(start[axis])], axis)[1]
    assert np.allclose(written.get_fdata(), want, atol=1e-3 * np.abs(whole).max())
    place = theirs.affine[:3, :3] @ start + theirs.affine[:3, 3]
    assert np.allclose(written.affine[:3, 3], place, atol=1e-3)


def files_of_kinds(folder: Path) -> dict[str, Path]:
    """A file of each kind that is no scan as it is."""
    voxels = np.random.default_rng(0).random((12, 11, 10)).astype(np.float32)
    kinds = {
        "folder": folder,
        **{name: folder / f"scan.{name}" for name in ("dcm", "png", "npy", "xyz")},
        "dicom": folder / "IM0001",
        "cut mgz": folder / "cut.mgz",
        "cut nii": folder / "cut.nii",
        "slice": folder / "slice.nii.gz",
        "missing": folder / "missing.nii",
        "minc 2": NIBABELS / "small.mnc",
        "minc repeats": NIBABELS / "minc1_4d.mnc",
        "streamlines": NIBABELS / "simple.trk",
    }
    for name in ("png", "xyz"):
        kinds[name].write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    np.save(kinds["npy"], voxels)
    for name in ("dcm", "dicom"):
        kinds[name].write_bytes(bytes(128) + b"DICM" + bytes(200))
    nib.save(nib.MGHImage(voxels, np.eye(4)), folder / "whole.mgz")
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "whole.nii")
    for ending in ("mgz", "nii"):
        whole = (folder / f"whole.{ending}").read_bytes()
        kinds[f"cut {ending}"].write_bytes(whole[: len(whole) // 2])
    nib.save(nib.Nifti1Image(voxels[0], np.eye(4)), kinds["slice"])
    return kinds


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("folder", "dcm2niix"),
        ("dcm", "is DICOM, one slice of a scan: .* dcm2niix"),
        ("dicom", "is DICOM"),
        ("png", "is a 2-D picture, and a scan is 3-D: stack"),
        ("npy", "nibabel.save"),
        ("xyz", "cannot be read as a scan: Cannot work out file type"),
        ("cut mgz", "ends too early, or is damaged: copy or download it again"),
        ("cut nii", "ends too early"),
        ("slice", r"has shape \(11, 10\): a scan is 3-D, or 4-D"),
        ("missing", "No such file"),
        ("minc 2", "h5py"),
        ("minc repeats", "mnc2nii"),
        ("streamlines", "cannot be read as a scan"),
    ],
)
def test_what_is_no_scan_is_one_line_that_says_what_to_do(
    volumes, tmp_path, monkeypatch, kind, told
):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    path = files_of_kinds(tmp_path)[kind]
    with pytest.raises(volumes.VolumeError, match=told) as caught:
        volumes.read_voxels(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
