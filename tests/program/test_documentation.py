"""The list of operations in the documentation is that of the table."""

from pathlib import Path
import re

from lucid.program.operations import TABLE

PAGE = Path(__file__).parents[2] / "docs" / "programs.md"


def test_every_operation_is_listed():
    listed = PAGE.read_text().partition("## Operations")[2]
    names = {target.split(".")[1] for target in TABLE if target.startswith("aten.")}
    assert names == set(re.findall(r"`(\w+)`", listed)) - {"half"}
