"""Numbers come out as Metal's types make them, by MLX's own conversions."""

import mlx.core as mx
import numpy as np
import pytest

from .tiny_kernels import result, to_numpy

VALUES = mx.array(np.random.default_rng(0).standard_normal(64).astype(np.float32))
TIES = mx.array([1 + k * 2.0**-9 for k in range(64)])
EXTREMES = mx.array([0.0, -0.0, float("inf"), -float("inf"), 1e-30, 3e38, 6e4, 7e4] * 8)


def same(got: np.ndarray, expected: mx.array) -> bool:
    return got.tobytes() == to_numpy(expected).tobytes()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("x", [VALUES, TIES, EXTREMES], ids=["any", "ties", "extreme"])
def test_rounding_to_a_half_type_is_mlx_s(dtype, x):
    template = [("T", dtype)]
    assert same(
        result("y[i] = T(a[i]);", x, dtype=dtype, template=template), x.astype(dtype)
    )


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_each_operation_of_a_half_type_is_rounded(dtype):
    a, b = VALUES.astype(dtype), VALUES[::-1].astype(dtype)
    got = result("y[i] = a[i] * b[i] + a[i] / b[i] - b[i];", a, b, dtype=dtype)
    assert same(got, a * b + a / b - b)


def test_float_products_are_not_fused():
    a, b = VALUES, VALUES[::-1]
    assert same(result("y[i] = a[i] * b[i] + a[i];", a, b), a * b + a)


def test_fma_rounds_once():
    a = mx.full((64,), 1 + 2.0**-12)
    got = result("y[i] = fma(a[i], a[i], -1.0f - 0x1p-11f);", a)
    assert (got == np.float32(2.0**-24)).all()


def test_subnormal_floats_are_zero_coming_in_and_going_out():
    normal = float(np.finfo(np.float32).tiny)
    x = mx.array([normal, normal / 2] * 32)
    assert (result("y[i] = a[i] * 0.5f;", x) == 0).all()
    assert (result("y[i] = a[i] * 4.0f;", x) == np.float32([4 * normal, 0] * 32)).all()
    assert np.float32(normal) / 2 > 0  # and nothing is left of it afterwards


def test_subnormal_halves_stay():
    x = mx.full((64,), 2.0**-20, mx.float16)
    got = result("y[i] = a[i] * half(0.5f);", x, dtype=mx.float16)
    assert (got == np.float16(2.0**-21)).all()


def test_integers_wrap_and_divide_as_in_c():
    source = "y[i] = int(uint(a[i]) * 2654435761u >> 3) + a[i] / 7 + a[i] % 7;"
    a = np.arange(-32, 32).astype(np.int32)
    shifted = (a.astype(np.uint32) * np.uint32(2654435761) >> np.uint32(3)).astype(int)
    expected = shifted + np.trunc(a / 7).astype(int) + np.fmod(a, 7)
    assert (result(source, mx.array(a), dtype=mx.int32) == expected).all()


def test_indices_of_64_bits_do_not_wrap():
    source = "y[i] = long(size_t(a[i]) * size_t(3000000000u));"
    got = result(source, mx.arange(64, dtype=mx.int32), dtype=mx.int64)
    assert (got == np.arange(64) * 3000000000).all()


def test_shapes_and_strides_arrive():
    x = mx.zeros((2, 3, 4))
    source = "y[i] = i < 3 ? a_shape[i] : i < 6 ? int(a_strides[i - 3]) : a_ndim;"
    sizes = {"grid": (7, 1, 1), "shape": (7,), "dtype": mx.int32}
    assert result(source, x, **sizes).tolist() == [2, 3, 4, 12, 4, 1, 3]


def test_scalars_arrive_by_reference():
    assert (result("y[i] = a + b[0];", mx.array(2.0), mx.ones(1)) == 3).all()


def test_vectors_compute_element_by_element():
    source = """
    vec<T, 4> v(T(a[i]), T(1), T(2), T(3));
    v = v * T(2) + vec<T, 4>(T(1));
    v += v;
    const float4 f = float4(v);
    y[i] = float(v.x + v[3]) + f.y + dot(f.xy, f.zw) + max(f, f.wzyx4()).x;
    """.replace("f.wzyx4()", "float4(f.w)")
    x = np.arange(64, dtype=np.float32)
    v = [2 * (2 * e + 1) for e in (x, 1, 2, 3)]
    expected = v[0] + v[3] + v[1] + v[0] * v[2] + v[1] * v[3] + np.maximum(v[0], v[3])
    got = result(source, mx.array(x), template=[("T", mx.float16)])
    np.testing.assert_allclose(got, expected, rtol=2e-3)
