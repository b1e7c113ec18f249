"""What is stored in the notebooks is what a clean kernel makes of them."""

from __future__ import annotations

import ast
from pathlib import Path
import re

import pytest

from tests.examples import notebooks

ids = {"ids": lambda path: path.stem}


def test_there_are_three():
    names = [path.stem for path in notebooks.NOTEBOOKS]
    assert names == ["brain_extraction", "quickstart", "segmentation"]


@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, **ids)
def test_every_cell_was_run_once_in_order_without_errors_or_warnings(path):
    notebook = notebooks.read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1))
    kinds = [kind for cell in notebooks.outputs(notebook) for kind, _ in cell]
    assert kinds.count("image/png") >= 2
    assert kinds.count("text/html") >= 1
    assert not {"stderr", "error"} & {*kinds}


@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, **ids)
def test_it_says_what_to_install_and_links_to_what_there_is(path):
    text = "\n".join(
        cell.source
        for cell in notebooks.read(path).cells
        if cell.cell_type == "markdown"
    )
    assert "pip install '.[notebooks]'" in text
    links = re.findall(r"\]\((?!https:)([^)]+)\)", text)
    assert links
    for link in links:
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, **ids)
def test_the_scripts_beside_it_have_what_it_imports(path):
    for cell in notebooks.read(path).cells:
        code = cell.source if cell.cell_type == "code" else ""
        for line in ast.walk(ast.parse(code)):
            script = path.parent / f"{getattr(line, 'module', None)}.py"
            if isinstance(line, ast.ImportFrom) and script.exists():
                written = ast.parse(script.read_text()).body
                there = {getattr(each, "name", None) for each in written}
                assert {each.name for each in line.names} <= there, script.name


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the Jupyter client's own making
@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, **ids)
def test_a_clean_kernel_shows_what_is_stored(path):
    stored = notebooks.outputs(notebooks.read(path))
    fresh = notebooks.outputs(notebooks.run(path))
    assert notebooks.difference(stored, fresh) == ""


@pytest.mark.parametrize(
    ("fresh", "is_told"),
    [
        ("loss 0.502, 3 layers", False),
        ("loss 0.512, 3 layers", True),
        ("loss 0.5, 3 layers", True),
        ("loss 0.500, 4 layers", True),
        ("lose 0.500, 3 layers", True),
    ],
)
def test_only_decimal_fractions_may_differ_and_only_a_little(fresh, is_told):
    stored = [[("stdout", "loss 0.495, 3 layers")]]
    assert bool(notebooks.difference(stored, [[("stdout", fresh)]])) == is_told


def test_a_picture_of_something_else_is_told():
    first = next(path for path in notebooks.NOTEBOOKS if path.stem == "quickstart")
    shown = notebooks.outputs(notebooks.read(first))
    pictures = [c for cell in shown for k, c in cell if k == "image/png"]
    assert notebooks.same_picture(pictures[0], pictures[0])
    assert not notebooks.same_picture(pictures[0], pictures[1])


def test_the_extra_that_they_name_brings_a_front_end():
    text = (Path(notebooks.EXAMPLES).parent / "pyproject.toml").read_text()
    extra = re.search(r"^notebooks = \[(.*?)\]\n", text, re.M | re.S)
    assert extra is not None
    assert "jupyterlab" in extra[1]
    assert "ipyniivue" in extra[1]
