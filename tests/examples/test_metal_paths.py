"""The table of `docs/metal.md` is what its script prints."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

ROOT = Path(__file__).parents[2]


def test_the_documented_table_is_the_scripts():
    script = ROOT / "examples" / "metal_paths.py"
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True
    )
    assert done.stdout in (ROOT / "docs" / "metal.md").read_text()
