"""The second front end."""

import sys

import mlx.core as mx
import pytest

from .address_spaces import check
from .errors import MissingToolError
from .tiny_kernels import BARRIER, result, tiny_kernel

LONG, SHORT = mx.arange(64, dtype=mx.float32), mx.ones(4)


def errors(source: str, *inputs: mx.array, **options) -> list[str]:
    return check(tiny_kernel(source, *inputs, **options).source)


def test_an_input_of_fewer_than_8_elements_is_no_device_pointer():
    source = "const device float* p = a; y[i] = p[i % 4];"
    assert errors(source, LONG) == []
    (error,) = errors(source, SHORT)
    assert error.startswith("line 6: ")
    assert "constant float const *" in error
    assert (result(source, SHORT) == 1).all()  # the first front end does not see it
    assert errors("auto p = a; y[i] = p[i % 4];", SHORT) == []


def test_threadgroup_memory_is_not_private():
    shared = f"threadgroup float t[64]; t[i] = a[i]; {BARRIER}"
    assert errors(f"{shared} threadgroup float* p = t; y[i] = *p;", LONG) == []
    (error,) = errors(f"{shared} float* p = t; y[i] = *p;", LONG)
    assert "threadgroup float" in error


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("y[i] = erf(a[i]);", "undeclared identifier 'erf'"),
        ("y[i] = 0.5 * a[i];", "to 'double'"),
        ("y[i] = min(i, 2u);", "ambiguous"),
        ("y[i] = std::fabs(a[i]);", "undeclared identifier 'std'"),
        ("a[i] = y[i] = 1.0f;", "read-only"),
        ("float v; y[i] = v;", "'v' is uninitialized"),
        ("float4 v; v += a[i]; y[i] = v.x;", "'v' is uninitialized"),
    ],
)
def test_what_metal_refuses_is_an_error(source, message):
    found = errors(source, LONG)
    assert found
    assert any(message in error for error in found)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_what_metal_accepts_is_none(dtype):
    source = """
    typedef vec<T, 4> T4;
    const T4 v = T4(*(const device T4*)(a + 4 * i));
    float4 f = float4(v) + float4(1.0f) * float4(a[0], a[1], 2.0f, float(i));
    f = fma(f, f, max(f, 0.5f * f));
    y[i] = T(f.x + v.y);
    """
    options = {"dtype": dtype, "template": [("T", dtype)]}
    assert errors(source, LONG.astype(dtype), **options) == []


def test_a_missing_libclang_is_named_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "clang", None)
    monkeypatch.setitem(sys.modules, "clang.cindex", None)
    with pytest.raises(MissingToolError, match="pip install libclang") as error:
        errors("y[i] = a[i];", LONG)
    assert "\n" not in str(error.value)
