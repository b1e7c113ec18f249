"""The notebook runs from a clean kernel, and ends as its text says."""

from pathlib import Path

from nbclient import NotebookClient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return "".join(o.text for o in outputs if o.output_type == "stream")


def test_outputs_are_stored_without_errors_or_warnings():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 4
    assert not any(o.output_type == "error" for o in outputs)
    assert not any(o.get("name") == "stderr" for o in outputs)
    assert "same output: True" in printed(notebook)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the Jupyter client's own making
def test_it_runs_from_a_clean_kernel():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    assert "same output: True" in printed(notebook)
    assert "still lazy: True" in printed(notebook)
