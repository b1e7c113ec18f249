"""The second front end."""

import sys

import mlx.core as mx
import pytest

from .address_spaces import check
from .errors import KernelRefusedError, MissingToolError
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
    (error,) = errors(f"{shared} thread float* p = t; y[i] = *p;", LONG)
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


@pytest.mark.parametrize(
    ("header", "source", "message"),
    [
        ("float scale = 2.0f;", "y[i] = scale;", "`scale`: a variable outside"),
        ("const int N = 3;", "y[i] = N;", "`N`: a variable outside"),
        ("constexpr int N = 3;", "y[i] = N;", "`N`: a variable outside"),
        ("static constexpr int N = 3;", "y[i] = N;", "`N`: a variable outside"),
        (
            "struct S { static constexpr int N = 3; };",
            "y[i] = S::N;",
            "`N`: a variable",
        ),
        ("", "static int n = 0; y[i] = n;", "`n`: a static variable"),
        (
            "template <typename V> V f(V v) { static V w = v; return w; }",
            "y[i] = f(1.0f);",
            "`w`: a static variable",
        ),
        ("", "float v[i]; v[0] = 1.0f; y[i] = v[0];", "variable length array"),
        (
            "void f(float& v) { v = 1; }",
            "float v; f(v); y[i] = v;",
            "`v`: a pointer or",
        ),
        (
            "template <typename V> void f(V& v) { v = 1; }",
            "float v = 0.0f; f(v); y[i] = v;",
            "`v`: a pointer or reference without",
        ),
        (
            "struct S { float* p; };",
            "float v = 1.0f; S s = {&v}; y[i] = *s.p;",
            "`p`: a",
        ),
        ("", "float v = 1.0f; float* p = &v; y[i] = *p;", "`p`: a pointer or"),
    ],
)
def test_what_cpp_accepts_and_metal_does_not_is_an_error(header, source, message):
    found = errors(source, LONG, header=header)
    assert any(message in error for error in found), found


def test_what_metal_accepts_of_declarations_is_none():
    header = """
    constant float scale = 2.0f;
    constant constexpr int N = 3;
    struct S { static constant constexpr int M = 3; thread float* p; };
    template <typename V> void f(thread V& v) { v = V(1); }
    template <typename P> float g(P p) { return p[0]; }
    inline float h(const device float* p, constant float& c) { return p[0] + c; }
    """
    source = """
    float v = 0.0f;
    f(v);
    thread float* p = &v;
    auto q = &v;
    S s = {p};
    constexpr int K = N + S::M;
    float w[K];
    w[0] = *q + h(a, scale);
    y[i] = w[0] + g(a) + *s.p;
    """
    assert errors(source, LONG, header=header) == []


def test_a_float_is_no_bfloat_by_itself():
    """Clang's bfloat takes one; the emulator's does not."""
    options = {"dtype": mx.bfloat16, "template": [("T", mx.bfloat16)]}
    x = LONG.astype(mx.bfloat16)
    with pytest.raises(KernelRefusedError):
        result("T v = 1.5f; y[i] = v;", x, **options)
    assert (result("T v = T(1.5f); y[i] = v;", x, **options) == 0x3FC0).all()


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
