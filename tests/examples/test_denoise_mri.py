"""The example trains on any scan, says what is wrong with a bad one, loses nothing."""

import importlib.util
from pathlib import Path
import subprocess
import sys
from types import ModuleType

import lucid
import mlx.core as mx
import nibabel as nib
import numpy as np
import pytest

from tests.launching import launcher

EXAMPLE = Path(__file__).parents[2] / "examples" / "denoise_mri.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("denoise_mri", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def quick(example, monkeypatch):
    """Three steps an epoch."""
    monkeypatch.setattr(example, "STEPS", 3)
    return lambda *arguments: example.main(["--epochs", "1", *map(str, arguments)])


def write(path: Path, shape: tuple[int, ...], dtype=np.int16, seed: int = 0) -> Path:
    voxels = np.random.default_rng(seed).uniform(0, 1000, shape).astype(dtype)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = (-10, 20, 30)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


@pytest.mark.parametrize(
    ("shape", "dtype", "test_shape"),
    [
        ((5, 7, 3), np.int16, (5, 4, 3)),
        ((20, 9, 1), np.uint8, (10, 9, 1)),
        ((6, 6, 6, 1), np.float64, (3, 6, 6)),
        ((9, 8, 7, 3), np.float32, (9, 8, 7)),
    ],
)
def test_any_scan_runs_and_every_file_is_written(
    quick, tmp_path, capsys, shape, dtype, test_shape
):
    volume = write(tmp_path / "scan.nii.gz", shape, dtype)
    out = tmp_path / "out"
    assert quick("--volume", volume, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "fresh lazy network: same output True" in printed
    assert "Gaussian filter" in printed
    needs_room = "no SSIM: it compares windows of 3 voxels or more along every axis"
    assert (needs_room in printed) == ("nan" in printed) == (min(test_shape) < 3)
    denoised = nib.load(out / "denoised.nii.gz")
    assert denoised.shape == test_shape
    assert denoised.get_data_dtype() == np.float32
    assert (np.diag(denoised.affine)[:3] == [2, 3, 4]).all()
    assert (out / "slices.png").read_bytes().startswith(b"\x89PNG")
    assert "head.weight" in lucid.load(out / "weights.npz")


def test_a_scan_of_another_kind_is_denoised_into_nifti(quick, tmp_path):
    voxels = np.random.default_rng(0).random((9, 8, 7)).astype(np.float32)
    nib.save(nib.MGHImage(voxels, np.diag([2.0, 3.0, 4.0, 1.0])), tmp_path / "a.mgz")
    assert quick("--volume", tmp_path / "a.mgz", "--out", tmp_path / "out") == 0
    denoised = nib.load(tmp_path / "out" / "denoised.nii.gz")
    assert denoised.header.get_zooms() == (2, 3, 4)


def test_the_second_half_is_written_at_its_own_place(quick, tmp_path):
    volume = write(tmp_path / "scan.nii", (20, 9, 8))
    quick("--volume", volume, "--out", tmp_path / "out")
    denoised = nib.load(tmp_path / "out" / "denoised.nii.gz")
    assert denoised.affine[0, 3] == -10 + 10 * 2
    noisy = nib.load(tmp_path / "out" / "noisy.nii.gz").get_fdata()
    scan = nib.load(volume).get_fdata()[10:]
    assert abs(noisy.mean() - scan.mean()) < 50, "intensities are the scan's own"


def test_the_same_seed_gives_the_same_weights(quick, tmp_path):
    volume = write(tmp_path / "scan.nii.gz", (9, 9, 9, 2))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        quick("--volume", volume, "--seed", seed, "--out", tmp_path / name)
    a, b, c = (lucid.load(tmp_path / n / "weights.npz")["stem.weight"] for n in "abc")
    assert (a == b).all()
    assert not (a == c).all()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (None, "missing.nii.gz"),
        (b"", "empty.nii.gz"),
        (b"not a scan", "text.nii.gz"),
        (b"not a scan", "text.nii"),
        (b"not a scan", "text.xyz"),
        ("truncated", "cut.nii.gz"),
        ("constant", "flat.nii.gz"),
        ("nan", "nan.nii.gz"),
        ("2-D", "slice.nii.gz"),
        ("complex", "phase.nii.gz"),
    ],
)
def test_a_bad_file_is_one_clear_line(quick, tmp_path, capsys, content, name):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "truncated":
        whole = write(tmp_path / "whole.nii.gz", (20, 20, 20)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content is not None:
        shape = (4, 4) if content == "2-D" else (4, 4, 4)
        voxels = np.full(shape, np.nan if content == "nan" else 3, np.float32)
        if content == "complex":
            voxels = voxels + 1j * np.arange(4, dtype=np.complex64)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    assert quick("--volume", path, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("denoise_mri: ")
    assert name in error


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--noise", "-1"], ["--noise", "nan"], ["--noise", "x"], ["--seed", "-1"]),
        *(["--noise", "20"], ["--epochs", "0"], ["--epochs", "x"]),
        *(["--batch", "0"], ["--device", "tpu"]),
    ],
)
def test_bad_options_are_refused_by_name(example, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        example.main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert arguments[0] in error
    assert error.count("\n") == 1


def test_an_absent_device_is_one_clear_line(quick, tmp_path, capsys):
    if mx.is_available(mx.Device(mx.gpu)):
        assert quick("--device", "gpu", "--out", tmp_path) == 0
    else:
        assert quick("--device", "gpu", "--out", tmp_path) == 1
        assert "--device gpu" in capsys.readouterr().err


def test_ctrl_c_keeps_the_weights_so_far(example, tmp_path, monkeypatch, capsys):
    draw, calls = example.draw_batch, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(example, "draw_batch", interrupted)
    volume = write(tmp_path / "scan.nii.gz", (9, 9, 9, 2))
    assert example.main(["--volume", str(volume), "--out", str(tmp_path)]) == 0
    assert "weights so far" in capsys.readouterr().err
    assert mx.abs(lucid.load(tmp_path / "weights.npz")["head.weight"]).sum() > 0


def test_a_second_ctrl_c_finds_the_weights_saved(example, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(example, "STEPS", 2)
    monkeypatch.setattr(example, "compare", interrupted)
    volume = write(tmp_path / "scan.nii.gz", (9, 9, 9, 2))
    with pytest.raises(KeyboardInterrupt):
        example.main(["--epochs=1", "--volume", str(volume), "--out", str(tmp_path)])
    assert "head.weight" in lucid.load(tmp_path / "weights.npz")


def test_tiles_give_what_the_whole_volume_gives(example):
    model = example.Denoiser()
    volume = np.random.default_rng(0).random((23, 9, 17), np.float32)
    whole = example.denoise(model, volume)
    tiled = example.denoise(model, volume, tile=8)
    assert np.abs(whole - volume).max() > 0.01
    np.testing.assert_allclose(tiled, whole, atol=2e-6)


@pytest.mark.slow
def test_two_processes_share_the_work_and_reach_the_same_losses(example, tmp_path):
    volume = write(tmp_path / "scan.nii.gz", (9, 9, 9, 2))
    script = (
        "import runpy, sys; sys.path.insert(0, sys.argv[1]); import denoise_mri as d;"
        "d.STEPS = 4; sys.exit(d.main(sys.argv[2:]))"
    )
    weights = {}
    for ranks in (1, 2):
        out = tmp_path / str(ranks)
        command = [sys.executable, "-c", script, str(EXAMPLE.parent), "--epochs", "1"]
        command += ["--volume", str(volume), "--out", str(out)]
        if ranks > 1:
            command = [*launcher(ranks), *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert done.stdout.count("same output True") == 1, done.stdout + done.stderr
        weights[ranks] = lucid.load(out / "weights.npz")
    for name, array in weights[1].items():
        assert mx.allclose(array, weights[2][name], rtol=1e-3, atol=1e-5), name
