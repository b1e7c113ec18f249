"""A type checker finds no fault with Lucid in what the documentation shows."""

from __future__ import annotations

import json
from pathlib import Path
import re
import subprocess
import sys

import pytest

from tests.documentation import DOCS, PAGES, blocks

ROOT = DOCS.parent
# What is not Lucid's: nibabel's types have less than its images, MLX's `item()` may be
# complex; names that a loop of an example defines; PyTorch, where it is not installed.
# And the page of errors makes some.
FOREIGN = re.compile(
    r'for class "FileBased|types "scalar"|possibly unbound|Import "torch" could not'
)
WRONG_ON_PURPOSE = re.compile(
    r'"(Conv2d|Batchnorm3d)" is not a known attribute|"array" is not callable'
)


def complaints(folder: Path) -> list[str]:
    command = [sys.executable, "-m", "pyright", "--outputjson", str(folder)]
    command += ["--pythonpath", sys.executable]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] >= len(list(folder.glob("*.py")))
    return [
        f"{Path(each['file']).stem}:{each['range']['start']['line'] + 1}: "
        f"{each['message']}"
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    ]


@pytest.mark.slow
def test_no_page_shows_what_a_type_checker_refuses(tmp_path):
    for page in PAGES:
        code = ""
        for block in blocks(page):
            # Each block has the blank lines that put it at its line of the page.
            code += block.code[code.count("\n") :]
        (tmp_path / page).with_suffix(".py").write_text(code)
    found = complaints(tmp_path)
    told = [
        each
        for each in found
        if not FOREIGN.search(each)
        and not (each.startswith("errors:") and WRONG_ON_PURPOSE.search(each))
    ]
    assert told == []


@pytest.mark.slow
def test_a_wrong_argument_of_lucids_is_told(tmp_path):
    (tmp_path / "wrong.py").write_text(
        "from lucid import nn\nnn.Conv3d(1, 2, 3, padding_mode='mirror')\n"
    )
    (told,) = complaints(tmp_path)
    assert "padding_mode" in told
