"""Running the notebooks, and comparing what they show with what is stored in them.

`python -m tests.examples.notebooks` runs each from a clean kernel and stores what it
shows: all of them, or those that are named.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
import re
import sys
from typing import Any

from nbclient import NotebookClient
import nbformat
import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))

# A viewer lives in a running kernel alone.
VIEWER = "An interactive viewer: run this cell to see it."
_VIEW = "application/vnd.jupyter.widget-view+json"

# Training adds up rounding: of another BLAS, or a GPU.
TOLERANCE = 0.03

Cells = list[list[tuple[str, str]]]  # (kind, content) of each output of each cell


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def run(path: Path) -> Any:
    """The notebook as a clean kernel makes it."""
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(
        notebook, timeout=600, resources=resources, store_widget_state=False
    ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        for output in cell.get("outputs", []):
            if _VIEW in output.get("data", {}):
                output.data = nbformat.from_dict({"text/plain": VIEWER})
    notebook.metadata.language_info = {"name": "python"}  # of whatever version
    return notebook


def outputs(notebook: Any) -> Cells:
    """What each cell shows: text that was printed, and the richest form of values."""
    cells = []
    for cell in notebook.cells:
        shown: list[tuple[str, str]] = []
        for output in cell.get("outputs", []):
            if output.output_type != "stream":
                kind = next(
                    kind
                    for kind in ("image/png", "text/html", "text/plain")
                    if kind in output.data
                )
                shown.append((kind, output.data[kind]))
            elif shown and shown[-1][0] == output.name:
                shown[-1] = output.name, shown[-1][1] + output.text
            else:
                shown.append((output.name, output.text))
        cells.append(shown)
    return cells


def difference(stored: Cells, fresh: Cells) -> str:
    """What is not equal, in words; decimal fractions may differ a little."""
    for number, (before, after) in enumerate(zip(stored, fresh, strict=True)):
        if [kind for kind, _ in before] != [kind for kind, _ in after]:
            return f"cell {number}: {before} became {after}"[:2000]
        for (kind, old), (_, new) in zip(before, after, strict=True):
            is_same = same_picture if kind == "image/png" else same_text
            if not is_same(old, new):
                told = "another picture" if kind == "image/png" else f"{old}{new}"
                return f"cell {number}: {told}"
    return ""


def same_text(one: str, other: str) -> bool:
    """But for decimal fractions, which may be rounded to the next digit besides."""
    fraction = re.compile(r"\d+\.\d+")
    if fraction.sub("_", one) != fraction.sub("_", other):
        return False
    pairs = zip(fraction.findall(one), fraction.findall(other), strict=True)
    for old, new in pairs:
        digits = len(old.partition(".")[2])
        allowed = TOLERANCE * float(old) + 1.001 * 10**-digits
        if (
            len(new.partition(".")[2]) != digits
            or abs(float(old) - float(new)) > allowed
        ):
            return False
    return True


def same_picture(one: str, other: str) -> bool:
    """Of nearly one size, as fonts differ by a pixel, and nearly all alike."""
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(each))).convert("L")
        for each in (one, other)
    ]
    (width, height), size = pictures[0].size, pictures[1].size
    if abs(width - size[0]) > 4 or abs(height - size[1]) > 4:
        return False
    small = [np.asarray(each.resize((200, 200)), float) / 255 for each in pictures]
    return float(np.abs(small[0] - small[1]).mean()) < 0.01


def main() -> None:
    for path in map(Path, sys.argv[1:] or NOTEBOOKS):
        notebook = run(path)
        nbformat.write(notebook, path)
        print(path.name)


if __name__ == "__main__":
    main()
