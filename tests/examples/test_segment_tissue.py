"""The segmentation learns from any labelled scans, and goes on exactly after a kill."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import lucid
import mlx.core as mx
import nibabel as nib
import numpy as np
import pytest

from tests.launching import launcher

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = EXAMPLES / "segment_tissue.py"
SPACING = (1.0, 1.2, 2.4)


@pytest.fixture
def example(monkeypatch):
    """The script's modules."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    names = ("tissue", "data", "patches", "training", "checkpoint")
    modules = {name: importlib.import_module(f"segment_{name}") for name in names}
    return SimpleNamespace(**modules, main=modules["tissue"].main)


def write(path: Path, voxels: np.ndarray, spacing=SPACING) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)


def scan(seed: int, shape=(20, 18, 24)) -> tuple[np.ndarray, np.ndarray]:
    """A ball and a bright corner, with noise; and which is which."""
    grid = np.moveaxis(np.indices(shape), 0, -1)
    labels = np.zeros(shape, np.uint8)
    labels[((grid - (8, 9, 10)) ** 2).sum(-1) < 36] = 1
    labels[14:, :, 12:] = 2
    noise = np.random.default_rng(seed).normal(0, 10, shape)
    return (20 + 100 * labels + noise).astype(np.int16), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scans")
    for i in range(3):
        image, labels = scan(i)
        write(root / "images" / f"head{i}.nii.gz", image)
        write(root / "labels" / f"head{i}.nii.gz", labels)
    return root


def options(folder: Path, out: Path, **changed) -> list[str]:
    values = {"data": folder, "out": out, "patch": 16, "steps": 2, "every": 1}
    return [f"--{name}={value}" for name, value in {**values, **changed}.items()]


def differing(a: Path, b: Path) -> list[str]:
    """What two checkpoints hold other bytes of."""
    first, second = lucid.load(a / "last.npz"), lucid.load(b / "last.npz")
    assert first.keys() == second.keys()
    return [
        name
        for name in first
        if np.array(first[name]).tobytes() != np.array(second[name]).tobytes()
    ]


def test_a_folder_of_scans_is_learned_and_every_file_is_written(
    example, folder, tmp_path, capsys
):
    assert example.main(options(folder, tmp_path)) == 0
    printed = capsys.readouterr()
    assert "class 2" in printed.out
    assert "loss=" in printed.err
    assert "Dice=" in printed.err
    prediction = nib.load(tmp_path / "head2.nii.gz")
    assert prediction.shape == (20, 18, 24)
    assert np.allclose(nib.affines.voxel_sizes(prediction.affine), SPACING)
    for name in ("slices.png", "curves.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    best = lucid.load(tmp_path / "best.npz")
    assert best["decoder.seg_layers.0.weight"].shape[0] == 3


def stop_in_second_step(example, monkeypatch) -> None:
    draw, drawn = example.training.draw_batch, []

    def interrupted(*arguments):
        drawn.append(1)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(example.training, "draw_batch", interrupted)


def test_a_stopped_run_goes_on_exactly(example, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(example.training, "test", lambda _: None)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert example.main(options(folder, whole)) == 0
    stop_in_second_step(example, monkeypatch)
    assert example.main(options(folder, parts)) == 130
    assert "--resume" in capsys.readouterr().err
    assert example.main(options(folder, parts)) == 1
    assert "stopped after step 1 of 2" in capsys.readouterr().err
    assert example.main([*options(folder, parts), "--resume", "--rate=1"]) == 1
    assert "--rate was 0.1" in capsys.readouterr().err
    assert differing(whole, parts)
    assert example.main([*options(folder, parts), "--resume"]) == 0
    assert differing(whole, parts) == []


def test_a_resume_without_a_checkpoint_begins(example, tmp_path, capsys):
    training = SimpleNamespace(
        args=SimpleNamespace(out=tmp_path), group=mx.distributed.init()
    )
    example.checkpoint.resume(training)
    assert "from the beginning" in capsys.readouterr().out


def test_channels_orientation_and_spacing_are_read_from_the_files(example, tmp_path):
    image, labels = scan(0)
    for i, spacing in enumerate(((1, 1, 2), (2, 2, 2), (1, 1, 2))):
        for channel in range(2):
            path = tmp_path / "imagesTr" / f"a{i}_000{channel}.nii"
            write(path, image + channel, spacing)
        write(
            tmp_path / "labelsTr" / f"a{i}.nii", labels[::-1], (-1 * spacing[0], 2, 2)
        )
    data = example.data.load_data(tmp_path, None)
    assert data.spacing.tolist() == [1, 1, 2] or data.spacing.tolist() == [1, 2, 2]
    first = data.train[0]
    assert first.image.shape[0] == 2
    assert (first.truth == labels).all()


def test_volumes_are_brought_to_one_spacing(example, folder):
    data = example.data.load_data(folder, 2.0)
    case = data.train[0]
    assert case.image.shape == (1, 10, 11, 29)
    assert case.labels.shape == (10, 11, 29)
    assert case.truth.shape == (20, 18, 24)
    assert np.allclose(case.spacing, SPACING)


def test_labels_of_whole_volumes_are_painted_on_what_is_bright(example, tmp_path):
    images = np.zeros((2, 8, 8, 8), np.uint8)
    images[:, 2:4, 2:4, 2:4] = 200
    splits = {f"{s}_images": images for s in ("train", "val", "test")}
    classes = {f"{s}_labels": np.array([[0], [4]]) for s in ("train", "val", "test")}
    np.savez(tmp_path / "organ.npz", **splits, **classes)
    data = example.data.load_data(tmp_path / "organ.npz", None)
    assert len(data.classes) == 6
    assert (data.train[0].labels == (images[0] > 0)).all()
    assert (data.test[1].labels == 5 * (images[1] > 0)).all()


def test_the_template_s_halves_do_not_meet(example, monkeypatch, tmp_path):
    t1 = np.zeros((23, 32, 20), np.uint8)
    t1[1:22, 1:31] = np.arange(30)[:, None] + 50
    gray, white = np.where(t1 > 0, 200, 0), np.zeros_like(t1)
    white[1:11, 1:16], gray[1:11, 1:16] = 255, 0
    for kind, voxels in (("t1", t1), ("gm", gray), ("wm", white)):
        write(tmp_path / f"{kind}.nii", voxels.astype(np.uint8), (1, 1, 1))
    monkeypatch.setattr(
        example.data, "fetch", lambda *wanted: tmp_path / f"{wanted[2][-33:-31]}.nii"
    )
    monkeypatch.setattr(example.data, "MAPS", "{}" + "_" * 31)
    data = example.data.load_data(None, None)
    train, validation, test = (c for (c,) in (data.train, data.validation, data.test))
    assert train.truth.shape == (10, 20, 20)
    assert validation.truth.shape == (10, 10, 20)
    assert test.truth.shape == (10, 30, 20)
    assert (train.truth[:, :15] == 2).all()
    assert (test.truth == 1).all()
    assert test.affine[:3, 3].tolist() == [12, 1, 0]
    whole = np.concatenate([train.image, validation.image], axis=2)
    assert abs(whole.mean()) < 1e-5


@pytest.mark.parametrize("shape", [(20, 18, 24), (9, 40, 7)])
def test_patches_are_of_one_size_and_often_of_the_foreground(example, shape):
    labels = np.zeros(shape, np.uint8)
    labels[3, 3, 3] = 1
    image = labels[None].astype(np.float32)
    case = example.data.make_case("a", image + 1, labels, np.eye(4), np.ones(3))
    rng = np.random.default_rng(0)
    images, drawn = example.patches.draw_batch([case], 60, 16, rng)
    assert images.shape == drawn.shape == (60, 1, 16, 16, 16)
    assert images.dtype == np.float32
    assert np.count_nonzero(drawn.max(axis=(1, 2, 3, 4))) >= 15
    for patch, mask in zip(images[:, 0], drawn[:, 0], strict=True):
        if mask.any():
            assert patch.argmax() == mask.argmax(), "flipped alike"


def test_long_voxels_are_not_halved(example):
    network = example.training.build_network(
        SimpleNamespace(spacing=np.array([5.0, 1.0, 1.0]), classes=["rest", "one"])
    )
    outputs = network(mx.zeros((1, 3, 16, 16, 16)))
    assert [y.shape[2:] for y in outputs] == [(16, 16, 16), (16, 8, 8), (16, 4, 4)]


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--steps", "0"], ["--patch", "20"], ["--rate", "nan"], ["--seed", "-1"]),
        *(["--data", "missing"], ["--batch", "3", "--accumulate", "2"]),
    ],
)
def test_bad_options_are_refused_by_name(example, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        example.main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert arguments[0] in error
    assert error.count("\n") == 1


def test_help_waits_for_no_library():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['segment_tissue.py', '--help']\n"
        "try: runpy.run_path(sys.path.pop(0), run_name='__main__')\n"
        "except SystemExit: print(sorted({'mlx', 'numpy', 'lucid'} & {*sys.modules}))"
    )
    code = f"import sys; sys.path.insert(0, {str(SCRIPT)!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    "content", ["nothing", "one", "text", "shapes", "unlabelled", "fractions"]
)
def test_bad_data_is_one_clear_line(example, tmp_path, capsys, content):
    root, (image, labels) = tmp_path / "data", scan(0)
    root.mkdir()
    count = {"nothing": 0, "one": 1}.get(content, 2)
    for i in range(count):
        mask = labels[1:] if content == "shapes" else labels
        mask = mask + 0.5 if content == "fractions" else mask
        write(root / "images" / f"{i}.nii", image)
        write(
            root / "labels" / f"{i}.nii", 0 * mask if content == "unlabelled" else mask
        )
    if content == "text":
        (root / "images" / "0.nii").write_text("no scan")
    assert example.main(options(root, tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert error.startswith("segment_tissue: ")
    assert error.count("\n") == 1


def run(arguments: list[str], *before: str) -> str:
    done = subprocess.run(
        [*before, sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_killed_twenty_times_it_ends_with_the_same_bits(folder, tmp_path):
    steps = options(folder, tmp_path / "whole", steps=40, every=2)
    begin = time.monotonic()
    run(steps)
    whole = time.monotonic() - begin
    rng, kills, found, chain = random.Random(0), 0, [], 0
    while kills < 20:
        out = tmp_path / str(chain)
        arguments = [*options(folder, out, steps=40, every=2), "--resume"]
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(rng.uniform(0.2, 0.7) * whole)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            if (out / "last.npz").exists():
                found.append(lucid.load(out / "last.npz")["losses"].size)
        else:
            assert process.returncode == 0
            assert differing(tmp_path / "whole", out) == []
            chain += 1
    run(arguments)
    assert differing(tmp_path / "whole", out) == []
    assert len({n for n in found if n < 40}) > 5, "kills were while training"


@pytest.mark.slow
def test_it_goes_on_with_what_was_measured(example, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LUCID_AUTOTUNE", "1")
    stop_in_second_step(example, monkeypatch)
    assert example.main(options(folder, tmp_path)) == 130
    before = measured(tmp_path)
    run([*options(folder, tmp_path), "--resume"])
    after = measured(tmp_path)
    assert before
    assert {problem: after[problem] for problem in before} == before


def measured(out: Path) -> dict:
    state = lucid.load(out / "last.npz")["autotune"]
    return json.loads(bytes(np.array(state)))["times"]


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--checkpoint", "--compile", "--accumulate=2"])
def test_the_same_steps_in_other_ways(folder, tmp_path, option):
    for name, more in (("plain", []), ("other", [option])):
        run([*options(folder, tmp_path / name, steps=3), *more])
    assert_close(tmp_path / "plain", tmp_path / "other")


@pytest.mark.slow
def test_two_processes_train_as_one(folder, tmp_path):
    run(options(folder, tmp_path / "one", steps=3))
    run(options(folder, tmp_path / "two", steps=3), *launcher(2))
    assert_close(tmp_path / "one", tmp_path / "two")


def assert_close(a: Path, b: Path) -> None:
    first, second = lucid.load(a / "last.npz"), lucid.load(b / "last.npz")
    names = [n for n in first if n.startswith(("network", "optimizer", "losses"))]
    assert len(names) > 100
    for name in names:
        difference = mx.abs(first[name] - second[name]).max().item()
        assert difference < 1e-4, name


@pytest.mark.slow
def test_bfloat16_computes_and_float32_remembers(folder, tmp_path):
    for name, more in (("plain", []), ("half", ["--bf16"])):
        run([*options(folder, tmp_path / name, steps=30), *more])
    plain, half = (lucid.load(tmp_path / n / "last.npz") for n in ("plain", "half"))
    weights = {n: a for n, a in half.items() if n.startswith(("network", "optimizer"))}
    weights.pop("optimizer.step")
    assert {array.dtype for array in weights.values()} == {mx.float32}
    losses = [np.array(saved["losses"]) for saved in (plain, half)]
    assert 0 < np.abs(losses[0] - losses[1])[0] < 0.01
    assert np.allclose(*losses, rtol=0.1)
    assert losses[1][-1] < 0.8 * losses[1][0]


@pytest.mark.slow
def test_checkpointing_takes_less_memory(folder, tmp_path):
    peak = {}
    for name, more in (("plain", []), ("less", ["--checkpoint"])):
        printed = run([*options(folder, tmp_path / name, patch=32), *more])
        peak[name] = int(printed.split("peak memory of a step ")[1].split()[0])
    assert peak["less"] < 0.85 * peak["plain"]
