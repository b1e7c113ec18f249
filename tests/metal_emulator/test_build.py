"""Compiling, and the tools it needs."""

from collections.abc import Iterator
import os
from pathlib import Path
import shutil
import subprocess
from unittest import mock

import mlx.core as mx
import numpy as np
import pytest

from . import build
from .errors import KernelRefusedError, MissingToolError
from .tiny_kernels import result


def test_a_kernel_is_compiled_once():
    first = result("y[i] = a[i] + 1.0f;", mx.ones(64))
    build.build.cache_clear()
    with mock.patch.object(subprocess, "run", side_effect=AssertionError("compiled")):
        again = result("y[i] = a[i] + 1.0f;", mx.ones(64))
    assert (first == 2).all()
    assert (first == again).all()


@pytest.fixture
def copied_headers(monkeypatch, tmp_path) -> Iterator[Path]:
    """The emulator's own, where a test may touch them."""
    headers = tmp_path / "include"
    shutil.copytree(build._INCLUDE, headers)
    caches = build._flags, build._precompiled_prelude, build.build
    with monkeypatch.context() as patch:
        patch.setattr(build, "_INCLUDE", headers)
        for cache in caches:
            cache.cache_clear()
        yield headers
    for cache in caches:
        cache.cache_clear()


def test_headers_that_were_written_anew_are_compiled_anew(copied_headers):
    """As a new environment's are, whose folder has the name of the one before."""
    for seconds in (1, 2):
        for p in copied_headers.glob("metal*"):
            os.utime(p, (seconds, seconds))
        build._precompiled_prelude.cache_clear()
        y = result(f"y[i] = a[i] + {seconds}.0f;", mx.ones(64))
        assert (y == 1 + seconds).all()


def test_a_source_that_does_not_compile_is_reported_with_its_line():
    with pytest.raises(KernelRefusedError, match=r"metal:6.*nothing"):
        result("y[i] = nothing;", mx.ones(64))


def test_a_function_that_metal_lacks_does_not_compile():
    with pytest.raises(KernelRefusedError, match="erf"):
        result("y[i] = metal::erf(a[i]);", mx.ones(64))


@pytest.fixture
def fresh_compiler():
    """The compiler is looked for anew, and again after the test."""
    build.compiler.cache_clear()
    yield
    build.compiler.cache_clear()


@pytest.mark.parametrize("command", ["no-such-compiler", "false", ""])
def test_a_compiler_that_is_none_is_named_in_one_line(
    command, monkeypatch, fresh_compiler
):
    monkeypatch.setenv("CXX", command)
    with pytest.raises(MissingToolError, match=f"CXX.*{command}") as error:
        result("y[i] = a[i] + 2.0f;", mx.ones(64))
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("fresh_compiler")
def test_without_a_system_compiler_the_registry_s_is_taken(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert build.compiler() == build.ZIG


@pytest.mark.usefixtures("fresh_compiler")
def test_without_any_compiler_the_ways_to_one_are_named(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(build, "ZIG", ("no-such-zig",))
    with pytest.raises(MissingToolError, match=r"install g\+\+.*pip install ziglang"):
        build.compiler()


def test_mlx_s_own_functions_are_there_as_on_a_mac():
    x = mx.arange(64, dtype=mx.float32)
    assert (result("y[i] = ceildiv(int(a[i]), 3);", x) == -(-np.arange(64) // 3)).all()
