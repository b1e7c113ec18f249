"""The README holds: its code runs, and its tables name all that there is."""

from pathlib import Path
import re

import lucid
from lucid import inference, models, nn
import lucid.nn.functional as F
import mlx.nn

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text()


def test_it_is_short():
    assert len(TEXT.splitlines()) <= 100


def test_python_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_links_to_files_of_the_repository_hold():
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", TEXT)
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_scripts_that_it_names_exist():
    scripts = re.findall(r"examples/\w+\.\w+", TEXT)
    assert scripts
    assert [name for name in scripts if not (README.parent / name).exists()] == []


def table() -> set[str]:
    """The names in the table of what there is."""
    section = TEXT.split("## What there is\n")[1].split("\n## ")[0]
    return set(re.findall(r"`([\w.]+)`", section))


# What makes, holds or describes modules is on the documentation's pages.
NO_LAYERS = {"LazyModule", "Module", "ParameterDict", "ParameterList"}


def test_the_table_has_every_layer_and_loss():
    layers = {
        name
        for name, value in vars(nn).items()
        if isinstance(value, type)
        and issubclass(value, mlx.nn.Module)
        and name in nn.__all__
    }
    assert layers - NO_LAYERS - table() == set()


def test_everything_in_the_table_exists():
    for name in table():
        if name.startswith("F."):
            assert name.removeprefix("F.") in F.__all__, name
        elif name.startswith("lucid."):
            assert name.removeprefix("lucid.") in lucid.__all__, name
        else:
            assert name in {*nn.__all__, *models.__all__, *inference.__all__}, name


def test_the_table_has_every_network():
    networks = {name for name in models.__all__ if name.endswith("Net")}
    assert networks - table() == set()
