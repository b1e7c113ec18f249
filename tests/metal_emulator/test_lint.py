"""Constructs that Metal lacks."""

import re

import mlx.core as mx
import pytest

from .errors import KernelRefusedError
from .lint import forbidden_constructs
from .tiny_kernels import result


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("auto f = [](int k) { return k; };", "a lambda"),
        ("auto f = [&] { return i; };", "a lambda"),
        ("auto f = [=](auto k) -> int { return k; };", "a lambda"),
        ("float v = std::min(1.0f, 2.0f);", "the C++ standard library"),
        ("int* p = new int[3];", "dynamic memory"),
        ("throw 3;", "an exception"),
        ("double v = 1.0f;", "the type double"),
        ("float v = 0.5 * a[i];", "a literal of type double"),
        ("float v = 1e-3;", "a literal of type double"),
        ("float v = 1.;", "a literal of type double"),
        ("float v = .5;", "a literal of type double"),
        ("long v = 3LL;", "a literal of type long long"),
        ("ulong v = 0xFFull;", "a literal of type long long"),
        ("goto end; end:;", "goto"),
        ("printf(0);", "printf"),
        ("float v = __builtin_expf(1.0f);", "a compiler's builtin"),
    ],
)
def test_a_construct_of_cpp_that_metal_lacks_is_refused(source, what):
    with pytest.raises(KernelRefusedError, match=re.escape(what)):
        result(f"{source} y[i] = a[i];", mx.ones(64))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("int f(int n) { return n > 0 ? f(n - 1) : 0; }", "f"),
        ("template <int N> int f(int n) { return n ? f<N>(n - 1) : 0; }", "f"),
        (
            "int g(int); int f(int n) { return g(n); } int g(int n) { return f(n); }",
            "g",
        ),
    ],
)
def test_recursion_is_refused(header, name):
    assert f"recursion of `{name}`" in forbidden_constructs(header)


def test_what_metal_has_is_not_refused():
    assert not forbidden_constructs(
        """
        // std::max, a [&](lambda) { } and 0.5 in a comment
        inline int f(int n) { return n > 0 ? n : 0; }
        inline int g(int n) { return f(n) + f(f(n)); }
        constant float table[3] = {1.0f, 2e5f, 0.5h};
        int a[2][3] = {{1, 2, 3}, {4, 5, 6}};
        if (a[0][1] > 0x1E5) { y[a[f(1)][2]] = half(1.5f) + 1.e-3f; }
        newest = deleted + v2.x;
        """
    )
