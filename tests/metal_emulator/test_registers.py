"""No kernel spills, and none takes more registers than it is worth."""

from importlib import resources
from unittest import mock

from lucid.metal import launch
from lucid.metal.check import KERNEL_CASES, kernel_rows
from lucid.metal.check_layers import LAYER_CASES, layer_rows
import mlx.core as mx
import pytest

from .capture import Kernel, capture
from .registers import registers
from .tiny_kernels import BARRIER, tiny_kernel

# A thread of Apple's GPUs has 128 to itself while at least half of the threads that
# would otherwise fit are resident.
MOST = 128
A = mx.arange(64, dtype=mx.float32)


@pytest.fixture(scope="module")
def captured() -> dict[str, Kernel]:
    """Every kernel in the table of `python -m lucid.metal`, by its source."""
    kernels: dict[str, Kernel] = {}
    really_run = launch.run

    def run(name, inputs, template, threads, shape, dtype) -> mx.array:
        def call(*arrays: mx.array) -> mx.array:
            named = dict(zip(inputs, arrays, strict=True))
            return really_run(name, named, template, threads, shape, dtype)

        kernel = capture(call, list(inputs.values()))
        kernels[kernel.source] = kernel
        return mx.zeros(shape, dtype)

    with mock.patch.object(launch, "run", run):
        for _ in (*kernel_rows(KERNEL_CASES), *layer_rows(LAYER_CASES)):
            pass
    return kernels


@pytest.mark.slow
def test_no_kernel_spills_or_takes_too_many_registers(captured):
    bad = {}
    for kernel in captured.values():
        taken = registers(kernel)
        if taken.spilled or taken.used > MOST:
            bad[kernel.name] = taken
    assert not bad


@pytest.mark.slow
def test_every_kernel_is_in_the_table(captured):
    folder = resources.files("lucid.metal") / "kernels"
    files = {file.name.partition(".")[0] for file in folder.iterdir()}
    for name in files - {"common", "multiply_add"}:  # which measures the GPU
        assert any(f"lucid_{name}__" in k.name for k in captured.values()), name


@pytest.mark.slow
def test_what_does_not_fit_spills():
    hungry = """
    float v[600];
    for (int k = 0; k < 600; k++) { v[k] = a[(i + k) % 64]; }
    float sum = 0.0f;
    for (int n = 0; n < i; n++) {
      for (int k = 0; k < 600; k++) { v[k] = v[k] * v[(k + n) % 600]; }
    }
    for (int k = 0; k < 600; k++) { sum += v[k]; }
    y[i] = sum;
    """
    assert registers(tiny_kernel(hungry, A)).spilled > 0


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 32, 96])
def test_what_is_held_is_counted(count):
    """Numbers that are all loaded before a barrier, and all used after it."""
    source = f"""
    float v[{count}];
    _Pragma("clang loop unroll(full)")
    for (int k = 0; k < {count}; k++) {{ v[k] = a[i + k * 64]; }}
    threadgroup float t[64]; t[i % 64] = v[0]; {BARRIER}
    float sum = t[0];
    _Pragma("clang loop unroll(full)")
    for (int k = 0; k < {count}; k++) {{ sum += v[k] * sum; }}
    y[i] = sum;
    """
    taken = registers(tiny_kernel(source, A))
    assert not taken.spilled
    assert count <= taken.used <= count + 32
