"""The documentation's code runs, and its reference has every public name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import lucid
from lucid import (
    distributed,
    files,
    inference,
    metal,
    metrics,
    models,
    nn,
    optim,
    plot,
    program,
)
from lucid.nn import init
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.documentation import DOCS, PAGES, blocks, idioms, run
from tests.launching import launcher

QUICK = [page for page in PAGES if any(not block.kind for block in blocks(page))]
SLOW = [page for page in PAGES if any(block.kind == "slow" for block in blocks(page))]
MODULES = (lucid, nn, F, models, inference, files, metal, program)


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    lucid.manual_seed(0)


@pytest.mark.parametrize("page", QUICK)
def test_quick_blocks_run(page):
    assert run(page, {""})


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW)
def test_all_blocks_run(page):
    assert run(page, {"", "slow"})


@pytest.mark.slow
def test_the_script_for_several_machines_runs_as_two_processes(tmp_path):
    script = tmp_path / "train.py"
    (block,) = blocks("several_machines.md")
    script.write_text(block.code)
    root = {"PYTHONPATH": str(DOCS.parent)}
    command = [*launcher(2), sys.executable, str(script)]
    subprocess.run(command, check=True, timeout=120, env=os.environ | root)
    assert "0.weight" in lucid.load("model.npz")


@pytest.mark.parametrize("page", PAGES)
def test_every_code_block_says_its_language(page):
    fences = re.findall(r"^```(.*)$", (DOCS / page).read_text(), re.MULTILINE)
    assert set(fences[::2]) <= {"python", "text", "pytb", "sh"}
    assert set(fences[1::2]) <= {""}


@pytest.mark.parametrize("page", PAGES)
def test_code_fits_the_page(page):
    lines = [line for block in blocks(page) for line in block.code.splitlines()]
    assert [line for line in lines if len(line) > 88] == []


def test_array_idioms_hold():
    for _, code in idioms():
        eval(code, idiom_names())


def idiom_names() -> dict[str, Any]:
    """What the table's expressions speak of."""
    x = lucid.rand(2, 3, 4, 4, 4) + 0.5
    return {
        "lucid": lucid, "mx": mx, "np": np, "F": F,
        "x": x, "y": x + 1, "w": lucid.ones(3, 5), "mask": x > 1,
        "labels": lucid.randint(0, 3, (2, 4, 4, 4)),
        "i": mx.array([2, 0]), "index": mx.zeros((2, 1, 4, 4, 4), mx.int32),
        "a": np.ones((2, 3), np.float32),
    }  # fmt: skip


def documented() -> set[str]:
    """The names that the reference's pages document or list."""
    text = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    return set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))


def test_the_reference_has_every_public_name():
    lucids = {f"{m.__name__}.{name}" for m in MODULES for name in m.__all__}
    lucids |= {"lucid.metrics.dice", "lucid.metrics.hausdorff_distance"}
    lucids |= {"lucid.distributed.materialize", "lucid.plot.slices"}
    modules = {m.__name__ for m in (*MODULES, optim, init, metrics, distributed, plot)}
    same = {"lucid.files.load", "lucid.files.save", "lucid.files.CheckpointError"}
    same |= {"lucid.program.load_program", "lucid.Tensor"}
    dtypes = {f"lucid.{name}" for name in lucid.__all__ if is_dtype(name)}
    assert lucids - modules - same - dtypes - documented() == set()


def test_the_reference_names_mlxs_optimizers_and_dtypes():
    training = (DOCS / "api" / "training.md").read_text()
    assert [n for n in optim.__all__ if n not in training] == []
    tensors = (DOCS / "api" / "tensors.md").read_text()
    named = [n for n in lucid.__all__ if is_dtype(n) and "int" not in n]
    assert [n for n in named if f"`{n}`" not in tensors] == []


def is_dtype(name: str) -> bool:
    return isinstance(getattr(lucid, name), mx.Dtype)


def test_files_that_pages_name_exist():
    root = DOCS.parent
    pages = [*DOCS.glob("*.md"), root / "CONTRIBUTING.md", root / "SECURITY.md"]
    names = re.findall(
        r"`((?:lucid|tests|examples|docs)/[\w/]+(?:/|\.py|\.md|\.ipynb|\.png))`",
        "".join(page.read_text() for page in pages),
    )
    assert names
    real = [name for name in names if not name.endswith("/X.py")]  # of any layer
    assert [name for name in real if not (root / name).exists()] == []
