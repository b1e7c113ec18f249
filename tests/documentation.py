"""The code of the documentation: blocks to run, and tables of two languages.

A ```text block right below a ```python one is what it prints, a ```pytb block the error
it ends with, to the letter. A comment right above a block says who runs it:
`<!-- slow -->` the slow stage, `<!-- torch -->` the stage that has PyTorch. All others
run in the default suite.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
import contextlib
from dataclasses import dataclass
import io
from pathlib import Path
import re
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))

_BLOCK = re.compile(
    r"(?:<!-- (?P<kind>\w+) -->\n)?"
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n?```(?:text|pytb)\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A block of Python, and what it prints."""

    code: str
    output: str
    kind: str  # "", "slow" or "torch"
    place: str


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    text = (DOCS / page).read_text()
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        # Blank lines before, so that a traceback shows the line of the page.
        code = "\n" * line + match["code"]
        yield Block(
            code, match["output"] or "", match["kind"] or "", f"{page}:{line + 1}"
        )


def run(page: str, kinds: Collection[str]) -> int:
    """Run the page's blocks of these kinds in one namespace, and count them."""
    namespace: dict[str, Any] = {"__name__": page}
    count = 0
    for block in blocks(page):
        if block.kind not in kinds:
            continue
        assert _outcome(block, namespace) == block.output, block.place
        count += 1
    return count


def _outcome(block: Block, namespace: dict[str, Any]) -> str:
    """What the block prints, or the error that it was to end with."""
    printed = io.StringIO()
    code = compile(block.code, block.place, "exec")
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
    except Exception as error:
        named = f"{type(error).__name__}: "
        if not block.output.startswith(named):
            raise
        return f"{named}{error}\n"
    return printed.getvalue()


def idioms() -> list[tuple[str, str]]:
    """The pairs of code, PyTorch's and Lucid's, of the table of arrays."""
    text = (DOCS / "from_pytorch.md").read_text()
    table = text.split("## Arrays\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \|", table, re.MULTILINE)
    assert len(rows) > 40
    return rows
