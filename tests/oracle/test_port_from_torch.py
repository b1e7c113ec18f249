"""The example that carries weights from PyTorch, run as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
import re
import subprocess
import sys

from monai.networks.nets import SegResNet
import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "examples" / "port_from_torch.py"
ARGUMENTS = {
    "spatial_dims": 3,
    "init_filters": 8,
    "in_channels": 2,
    "out_channels": 2,
    "blocks_down": [1, 1],
    "blocks_up": [1],
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--size", "16", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_network_computes_what_its_original_does():
    done = run()
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(\w+) .* (\S+) apart$", done.stdout, re.MULTILINE)
    assert [name for name, _ in found] == [
        "UNet",
        "SegResNet",
        "PlainConvUNet",
        "ResidualEncoderUNet",
    ]
    assert all(float(difference) < 1e-4 for _, difference in found)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.ckpt"
    state = SegResNet(**ARGUMENTS).half().state_dict()
    torch.save({"epoch": 3, "state_dict": state}, path)
    return str(path)


def test_a_checkpoint_of_ones_own(checkpoint):
    given = ("--network", "SegResNet", "--arguments", json.dumps(ARGUMENTS))
    done = run("--checkpoint", checkpoint, *given)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-2]) < 1e-4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--network", "SegResNet"], r"convInit.conv.weight: shape \(8, 2, 3, 3, 3\)"),
        (["--network", "Net"], "invalid choice: 'Net'"),
        (["--arguments", "{"], "not JSON"),
        (["--arguments", "3"], "not of the form"),
        (["--arguments", '{"dims": 3}'], "dims"),
    ],
)
def test_what_does_not_fit_is_one_message(given, message, checkpoint):
    done = run("--checkpoint", checkpoint, *given)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr)
