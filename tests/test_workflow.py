"""The hosted Mac runs the README's tests, the kernels' check, the tests on its GPU."""

from pathlib import Path
import re

ROOT = Path(__file__).parents[1]


def test_the_workflow_runs_the_readme_s_tests_and_the_check_of_kernels():
    runs = re.findall(
        r"run: (.+)", (ROOT / ".github" / "workflows" / "mac.yml").read_text()
    )
    readme = (ROOT / "README.md").read_text().splitlines()
    (tests,) = [line for line in readme if re.match("python3 -m venv .*pytest", line)]
    on_gpu = "LUCID_TEST_DEVICE=gpu .venv/bin/python -m pytest"
    assert runs == [tests, ".venv/bin/python -m lucid.metal", on_gpu]
