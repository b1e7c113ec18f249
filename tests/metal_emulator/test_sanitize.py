"""The child process that runs under the sanitizers."""

import mlx.core as mx
import pytest

from .run import run
from .sanitize import needs_sanitizers, sanitizer_report
from .tiny_kernels import BARRIER, tiny_kernel, to_numpy

pytestmark = [needs_sanitizers, pytest.mark.slow]

X = mx.arange(64, dtype=mx.float32)
SUM = f"threadgroup float t[64]; t[i] = a[i]; {BARRIER} y[i] = t[63 - i];"


def report(source: str, x: mx.array = X, **options) -> str:
    kernel = tiny_kernel(source, x, threadgroup=(64, 1, 1), **options)
    return sanitizer_report([(kernel, [to_numpy(x)])])


def test_kernels_without_fault_give_an_empty_report():
    kernels = [tiny_kernel(s, X, threadgroup=(64, 1, 1)) for s in (SUM, "y[i] = a[i];")]
    assert sanitizer_report([(kernel, [to_numpy(X)]) for kernel in kernels]) == ""


def test_a_read_past_the_end_that_does_not_show_is_reported():
    source = "y[i] = a[i + 1] == 0.125f ? 1.0f : 2.0f;"
    run(tiny_kernel(source, X), [to_numpy(X)])
    assert "AddressSanitizer: use-after-poison" in report(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("y[i] = (*(const device float2*)(a + i / 2 * 2)).x;", "misaligned address"),
        ("y[i] = float(a_shape[0] * (1 << 30));", "signed integer overflow"),
        ("y[i] = float(1 << (a_shape[0] / 2));", "shift exponent 32"),
    ],
)
def test_undefined_behavior_is_reported(source, message):
    found = report(source)
    assert message in found
    assert "tiny" in found


def test_a_read_past_a_threadgroup_array_is_reported():
    past = SUM.replace("y[i] =", "threadgroup float* p = t; y[i] = p[64] == 3 ? 0 :")
    assert "AddressSanitizer: use-after-poison" in report(past)


def test_what_the_emulator_itself_reports_is_passed_on():
    assert "never written" in report("if (i < 9) y[i] = a[i];")
