"""What `import lucid` does before MLX loads on Linux, and that it does so quietly.

Whatever is bound at load time is asked of a fresh interpreter.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

from lucid import _cpu
from numpy.random import mtrand
import pytest

LINUX = sys.platform == "linux"
GLIBC = LINUX and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
# Any file that the dynamic loader takes will do for a BLAS: it is found, not called.
LIBRARY = str(mtrand.__file__)

ASK = "import lucid; print(lucid._cpu.blas or '')"
CONVOLVE = """
import json, lucid, lucid.nn.functional as F, mlx.core as mx
lucid.manual_seed(0)
x, w = lucid.randn(2, 3, 5, 6, 7), lucid.randn(4, 3, 3, 3, 3)
y, gradients = mx.value_and_grad(
    lambda x, w: F.conv3d(x, w, padding=1).square().sum(), argnums=(0, 1)
)(x, w)
print(json.dumps([y.item(), *(g.abs().sum().item() for g in gradients)]))
"""
PRODUCT = """
import numpy as np
x = np.random.default_rng(0).standard_normal((9000, 16), np.float32)
y = np.array(mx.array(x).T @ mx.array(x))
right = np.abs(y - x.T @ x).max() < 1e-2
print("mkl" in str(lucid._cpu.blas), right)
"""
# MKL's own threads, by their layer: tbb, intel (its OpenMP) or gnu.
ASK_THREADS = """
import re
print(*set(re.findall(r"libmkl_(\\w+)_thread", open("/proc/self/maps").read())))
"""
GNU_THREADS = "import ctypes; ctypes.CDLL('libgomp.so.1', mode=ctypes.RTLD_GLOBAL)\n"
FAULTS = """
import resource, lucid, mlx.core as mx
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
mx.eval(mx.ones(2**24))
before = faults()
for _ in range(3): mx.eval(mx.ones(2**24))
print(faults() - before)
"""


def python(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a new interpreter with only these variables set for the CPU."""
    ours = ("LUCID_", "MKL_", "OMP_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-W", "default", "-c", script],
        env=kept | env,
        capture_output=True,
        text=True,
        check=True,
    )


def with_prefix(prefix: Path) -> str:
    return f"import sys; sys.prefix = {str(prefix)!r}\n"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment's prefix, with a lib folder but no MKL in it."""
    (tmp_path / "lib").mkdir()
    return tmp_path


@pytest.mark.parametrize("off", ["0", "off", "None", "False", "no"])
def test_blas_can_be_turned_off_silently(off: str):
    result = python(ASK, LUCID_BLAS=off)
    assert result.stdout.strip() == ""
    assert result.stderr == ""


def test_a_blas_that_is_not_there_is_one_warning_that_names_it_and_the_import():
    result = python(ASK, LUCID_BLAS="/nonexistent/libblas.so")
    assert result.stdout.strip() == ""
    assert result.stderr.count("RuntimeWarning") == LINUX
    assert ("LUCID_BLAS=/nonexistent/libblas.so" in result.stderr) == LINUX
    assert ("<string>:1: " in result.stderr) == LINUX


def test_a_file_that_is_no_library_is_one_warning(tmp_path: Path):
    text = tmp_path / "libblas.so"
    text.write_text("no library")
    result = python(ASK, LUCID_BLAS=str(text))
    assert result.stdout.strip() == ""
    assert result.stderr.count("RuntimeWarning") == LINUX


def test_a_path_to_a_library_is_loaded():
    result = python(ASK, LUCID_BLAS=LIBRARY)
    assert result.stdout.strip() == (LIBRARY if LINUX else "")
    assert result.stderr == ""


@pytest.mark.skipif(not GLIBC, reason="MKL is for Linux")
@pytest.mark.parametrize(
    ("variable", "threads"),
    [
        ({}, "tbb"),
        ({"OMP_NUM_THREADS": "1"}, "intel"),
        ({"MKL_NUM_THREADS": "1"}, "intel"),
        ({"MKL_CBWR": "AUTO,STRICT"}, "intel"),
    ],
)
def test_mkl_chooses_its_threads_when_it_is_loaded(variable, threads):
    """Before the first product, which might come after PyTorch has brought GNU's."""
    script = "import lucid; print('mkl' in str(lucid._cpu.blas))"
    has_mkl, *chosen = python(script + ASK_THREADS, **variable).stdout.split()
    assert chosen == ([threads] if has_mkl == "True" else [])


@pytest.mark.skipif(not GLIBC, reason="MKL is for Linux")
def test_mkl_without_onetbb_beside_it_has_openmps_threads(environment: Path):
    """As from a system's package that has each in a folder of its own."""
    for pattern in ("libmkl_*", "libiomp5*"):
        for library in Path(sys.prefix, "lib").glob(pattern):
            (environment / "lib" / library.name).symlink_to(library)
    script = with_prefix(environment) + "import lucid; print(lucid._cpu.blas)"
    blas, *chosen = python(script + ASK_THREADS, LUCID_BLAS="auto").stdout.split()
    assert chosen == (["intel"] if "mkl" in blas else [])


@pytest.mark.skipif(
    not GLIBC or ctypes.util.find_library("gomp") is None,
    reason="there is no GNU OpenMP",
)
@pytest.mark.parametrize("gnu_first", [True, False])
@pytest.mark.parametrize("openmp", [True, False])
def test_products_are_right_beside_gnu_threads(openmp, gnu_first):
    """Intel's OpenMP beside GNU's would be wrong: MKL takes what is there first."""
    both = [GNU_THREADS, "import lucid, mlx.core as mx\n"]
    script = "".join(both if gnu_first else both[::-1]) + PRODUCT + ASK_THREADS
    variable = {"OMP_NUM_THREADS": "2"} if openmp else {}
    has_mkl, right, *chosen = python(script, **variable).stdout.split()
    threads = ("gnu" if gnu_first else "intel") if openmp else "tbb"
    assert chosen == ([threads] if has_mkl == "True" else [])
    assert right == "True"


def test_an_empty_variable_names_no_library():
    script = "import lucid; print(lucid._cpu.blas == '')"
    assert python(script, LUCID_BLAS="").stdout.strip() == "False"


def test_mkl_of_the_environment_comes_first(environment: Path):
    mkl = environment / "lib" / "libmkl_rt.so.3"
    mkl.symlink_to(LIBRARY)
    for choice in ({}, {"LUCID_BLAS": "auto"}, {"LUCID_BLAS": "mkl"}):
        result = python(with_prefix(environment) + ASK, **choice)
        assert result.stdout.strip() == (str(mkl) if LINUX else "")
        assert result.stderr == ""


def test_nothing_is_said_where_no_fast_blas_is_installed(environment: Path):
    (environment / "lib" / "libmkl_rt.so.3").write_text("broken")
    result = python(with_prefix(environment) + ASK)
    assert result.stdout.strip() in ("", *_cpu.OPENBLAS)  # the system may have one
    assert result.stderr == ""


def test_a_missing_mkl_that_was_asked_for_is_one_warning(environment: Path):
    result = python(with_prefix(environment) + ASK, LUCID_BLAS="mkl")
    assert result.stdout.strip() == ""
    assert result.stderr.count("RuntimeWarning: LUCID_BLAS=mkl") == LINUX


@pytest.mark.parametrize(
    ("blas", "warnings"), [(LIBRARY, 1), ("/nonexistent", 0), ("0", 0)]
)
def test_importing_mlx_first_warns_once_if_a_blas_was_missed(blas: str, warnings: int):
    script = f"import mlx.core\n{ASK}\nimport lucid.nn"
    result = python(script, LUCID_BLAS=blas)
    assert result.stdout.strip() == ""
    assert result.stderr.count("RuntimeWarning") == warnings * LINUX
    assert result.stderr.count("<string>:2: ") == warnings * LINUX
    assert ("import lucid first" in result.stderr) == bool(warnings and LINUX)


def test_importing_mlx_first_says_nothing_without_a_blas(environment: Path):
    script = f"import mlx.core\n{with_prefix(environment)}{ASK}"
    assert python(script).stderr == ""


def test_results_do_not_depend_on_the_blas():
    stock = json.loads(python(CONVOLVE, LUCID_BLAS="0").stdout)
    fast = json.loads(python(CONVOLVE).stdout)
    assert stock[0] > 0
    assert fast == pytest.approx(stock, rel=1e-5)


def test_freed_buffers_are_kept_unless_told_not_to():
    calm = int(python(FAULTS, LUCID_BLAS="0").stdout)
    stock = int(python(FAULTS, LUCID_BLAS="0", LUCID_MALLOC="0").stdout)
    assert calm < stock / 4 or not GLIBC


def recording(monkeypatch: pytest.MonkeyPatch, loadable: tuple[str, ...]) -> list[str]:
    """Run `_cpu` as on Linux before MLX, recording what it does instead of doing it."""
    done: list[str] = []

    def load(name: str | None, mode: int = 0) -> Any:
        if name is None:
            return SimpleNamespace(mallopt=lambda option, _: done.append(str(option)))
        done.append(name)
        if name not in loadable:
            raise OSError(name)
        assert mode == ctypes.RTLD_GLOBAL
        return None

    fake = SimpleNamespace(CDLL=load, RTLD_GLOBAL=ctypes.RTLD_GLOBAL)
    monkeypatch.setattr(_cpu, "ctypes", fake)
    monkeypatch.setattr(_cpu, "blas", None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "mlx.core")
    for variable in ("LUCID_BLAS", "LUCID_MALLOC"):
        monkeypatch.delenv(variable, raising=False)
    return done


def test_candidates_are_tried_in_order_until_one_loads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_cpu, "candidates", lambda choice: ["a.so", "b.so", "c.so"])
    done = recording(monkeypatch, loadable=("b.so", "c.so"))
    _cpu.prepare()
    assert done == ["-3", "-1", "a.so", "b.so"]  # mallopt's two thresholds first
    assert _cpu.blas == "b.so"


def test_candidates_of_each_choice(environment: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "prefix", str(environment))
    mkl = environment / "lib" / "libmkl_rt.so.2"
    mkl.touch()
    openblas = list(_cpu.OPENBLAS)
    assert _cpu.candidates("auto") == [str(mkl), *openblas]
    assert _cpu.candidates("mkl") == [str(mkl)]
    assert _cpu.candidates("openblas") == openblas
    assert _cpu.candidates("/my/blas.so") == ["/my/blas.so"]


def test_both_switches_off_do_nothing(monkeypatch: pytest.MonkeyPatch):
    done = recording(monkeypatch, loadable=())
    monkeypatch.setenv("LUCID_BLAS", "0")
    monkeypatch.setenv("LUCID_MALLOC", "0")
    _cpu.prepare()
    assert done == []


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(platform: str, monkeypatch: pytest.MonkeyPatch):
    done = recording(monkeypatch, loadable=())
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("LUCID_BLAS", "/nonexistent")
    _cpu.prepare()
    assert done == []
    assert _cpu.blas is None


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    fake = SimpleNamespace(CDLL=lambda name: object())
    monkeypatch.setattr(_cpu, "ctypes", fake)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("LUCID_BLAS", "0")
    monkeypatch.delenv("LUCID_MALLOC", raising=False)
    blas = _cpu.blas
    _cpu.prepare()
    assert _cpu.blas == blas


def test_the_suite_runs_on_the_blas_that_a_user_gets():
    chosen = {k: v for k, v in os.environ.items() if k == "LUCID_BLAS"}
    assert python(ASK, **chosen).stdout.strip() == (_cpu.blas or "")


def test_the_reference_blas_is_linuxs_when_no_other_was_loaded(monkeypatch):
    for platform, blas, reference in [
        ("linux", None, True),
        ("linux", "libopenblas.so.0", False),
        ("darwin", None, False),
    ]:
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(_cpu, "blas", blas)
        assert _cpu.is_reference_blas() is reference
