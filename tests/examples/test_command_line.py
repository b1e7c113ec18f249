"""The examples' command lines: quick to answer, quiet when they are interrupted."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(
    path.name for path in EXAMPLES.glob("*.py") if "__main__" in path.read_text()
)
SLOW_TO_LOAD = {"matplotlib", "nibabel", "scipy", "skimage", "torch", "jax", "monai"}

# Prints what of these a script has loaded when it has answered.
WATCH = """
import runpy, sys
script, *slow = sys.argv[1:]
for argument in ("--help", "--no-such-option"):
    sys.argv = [script, argument]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        print(end.code, sorted({*slow} & {*sys.modules}))
"""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(name, marks=() if name == "denoise_mri.py" else pytest.mark.slow)
        for name in SCRIPTS
    ],
)
def test_help_and_a_wrong_option_need_nothing_that_is_slow_to_load(script):
    command = [sys.executable, "-c", WATCH, str(EXAMPLES / script), *SLOW_TO_LOAD]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\n0 []\n" in done.stdout
    assert done.stdout.endswith("\n2 []\n"), done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_it_loads_is_quiet(script, tmp_path):
    loading = "import time\nprint('loading', flush=True)\ntime.sleep(60)\n"
    for name in ("lucid", "torch"):
        (tmp_path / f"{name}.py").write_text(loading)
    (tmp_path / "numpy.py").write_text("")
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / script)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) in (-signal.SIGINT, 130)
        assert process.stderr.read() == ""


def test_ctrl_c_later_is_quiet_too():
    script = (
        "import command_line, os, signal\n"
        "command_line.run(lambda: os.kill(os.getpid(), signal.SIGINT))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=EXAMPLES, capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr == ""


@pytest.fixture
def command_line(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return __import__("command_line")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "x is not a whole number"),
        ("1.5", "1.5 is not a whole number"),
        ("0", "0 is out of range: 1 is the least"),
    ],
)
def test_a_number_that_is_not_whole_or_too_small(command_line, capsys, text, message):
    parser = command_line.Parser(prog="train.py")
    parser.add_argument("--steps", type=command_line.whole(1))
    assert parser.parse_args(["--steps", "3"]).steps == 3
    with pytest.raises(SystemExit):
        parser.parse_args(["--steps", text])
    want = f"train: argument --steps: {message} (--help lists the options)\n"
    assert capsys.readouterr().err == want


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "x is not a number"),
        *((text, f"{text} is out of range: more than 0, less than 1") for text in "02"),
        ("nan", "nan is out of range"),
    ],
)
def test_a_number_out_of_range_is_called_so(command_line, capsys, text, message):
    parser = command_line.Parser(prog="train.py")
    parser.add_argument("--share", type=command_line.between(0, 1))
    assert parser.parse_args(["--share", "0.3"]).share == 0.3
    with pytest.raises(SystemExit):
        parser.parse_args(["--share", text])
    assert message in capsys.readouterr().err
