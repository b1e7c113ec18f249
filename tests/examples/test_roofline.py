"""The table in docs/metal.md is what the script prints."""

from pathlib import Path
import subprocess
import sys

ROOT = Path(__file__).parents[2]


def test_the_documented_table_is_what_the_script_prints():
    script = str(ROOT / "examples" / "roofline.py")
    run = subprocess.run([sys.executable, script], capture_output=True, check=True)
    table = run.stdout.decode()
    assert table.count("\n") == 12
    assert table in (ROOT / "docs" / "metal.md").read_text()
