"""What a user's words for dtypes, devices and sizes become."""

from __future__ import annotations

from typing import Any

from lucid import _types
import mlx.core as mx
import numpy as np
import pytest

NUMPY_DTYPES = sorted(_types.DTYPES.keys() - {"bfloat16"})
NOT_DTYPES: list[Any] = [
    *("float", "f4", "bool_", "Float32", "", "complex128", "mlx.core.float32"),
    *(3, 1.5, b"x", object, complex, np.longdouble, mx.array, mx.floating, [], (), {}),
    *(np.dtype("V2"), np.dtype("U3"), np.dtype("M8[s]"), np.dtype([("a", "f4")])),
]


@pytest.mark.parametrize("name", sorted(_types.DTYPES))
def test_dtype_name_and_mlx_dtype_resolve_to_the_mlx_dtype(name: str):
    want = getattr(mx, "bool_" if name == "bool" else name)
    assert _types.resolve_dtype(name) == want
    assert _types.resolve_dtype(want) == want
    assert _types.dtype_name(want) == name


@pytest.mark.parametrize("name", NUMPY_DTYPES)
def test_numpy_dtype_class_and_byte_order_resolve(name: str):
    want = _types.DTYPES[name]
    dtype = np.dtype(name)
    assert _types.resolve_dtype(dtype) == want
    assert _types.resolve_dtype(dtype.type) == want
    assert _types.resolve_dtype(dtype.newbyteorder(">")) == want


def test_python_classes_resolve_as_numpy_reads_them():
    got = [_types.resolve_dtype(kind) for kind in (bool, int, float)]
    assert got == [mx.bool_, _types.DTYPES[np.dtype(int).name], mx.float64]


def test_no_dtype_is_float32():
    assert _types.resolve_dtype(None) == mx.float32


@pytest.mark.parametrize("dtype", NOT_DTYPES, ids=repr)
def test_what_is_no_mlx_dtype_is_a_type_error_listing_those_there_are(dtype: Any):
    with pytest.raises(TypeError, match=r"`dtype` .*float32") as error:
        _types.resolve_dtype(dtype)
    assert repr(dtype) in str(error.value)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=str)
def test_layers_compute_in_three_dtypes(dtype: mx.Dtype):
    assert dtype in _types.FLOAT_DTYPES
    _types.check_float_dtype("dtype", dtype)


@pytest.mark.parametrize("dtype", [mx.float64, mx.int32, mx.bool_, mx.complex64])
def test_another_dtype_is_a_type_error_naming_the_three(dtype: mx.Dtype):
    with pytest.raises(TypeError, match=r"`x` .*float32, float16 or bfloat16"):
        _types.check_float_dtype("x", dtype)


@pytest.mark.parametrize("value", [2, np.int8(2), np.uint64(2), mx.array(2)])
def test_whole_numbers_of_any_library_are_ints(value: Any):
    got = _types.integer("n", value)
    assert type(got) is int
    assert got == 2


@pytest.mark.parametrize(
    "value", [2.0, "2", None, True, np.True_, np.float32(2), mx.array(2.0), (2,)]
)
def test_what_is_no_whole_number_is_a_type_error_naming_it(value: Any):
    with pytest.raises(TypeError, match=r"`n` .*int"):
        _types.integer("n", value)


def test_positive_starts_at_one():
    assert _types.positive("n", 1) == 1
    for value in (0, -3):
        with pytest.raises(ValueError, match=rf"`n` \(={value}\) must be at least 1"):
            _types.positive("n", value)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (3, (3, 3, 3)),
        ((1, 2, 3), (1, 2, 3)),
        ([1, 2, 3], (1, 2, 3)),
        ((np.int64(1), np.uint8(2), 3), (1, 2, 3)),
    ],
)
def test_triple_is_one_int_three_times_or_three_ints(value: Any, want: Any):
    got = _types.triple("k", value, minimum=1)
    assert got == want
    assert all(type(size) is int for size in got)


@pytest.mark.parametrize("value", [(1, 2), (1, 2, 3, 4), (), [1]])
def test_a_triple_of_another_length_is_a_value_error(value: Any):
    with pytest.raises(ValueError, match=r"`k` .* must be an int or three ints"):
        _types.triple("k", value, minimum=0)


@pytest.mark.parametrize("minimum", [0, 1])
def test_a_triple_below_its_minimum_is_a_value_error(minimum: int):
    assert _types.triple("k", (minimum, 5, 5), minimum) == (minimum, 5, 5)
    for value in (minimum - 1, (5, minimum - 1, 5)):
        with pytest.raises(ValueError, match=f"`k` .* must be at least {minimum}"):
            _types.triple("k", value, minimum)


@pytest.mark.parametrize(
    "value", [1.0, "123", None, True, (1, 2.0, 3), (1, "2", 3), (1, True, 3)]
)
def test_a_triple_of_another_type_is_a_type_error(value: Any):
    with pytest.raises(TypeError, match=r"`k` .* must be an int"):
        _types.triple("k", value, minimum=0)


def test_arrays_that_fit_in_memory_are_allocatable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_types, "physical_memory", lambda: 1000)
    _types.check_allocatable("`size`", (10, 25), 4)
    with pytest.raises(ValueError, match=r"`size` .*\(10, 26\)"):
        _types.check_allocatable("`size`", (10, 26), 4)


def test_an_axis_that_mlx_cannot_count_is_a_value_error_even_when_empty():
    _types.check_allocatable("`size`", (2**31 - 1, 0), 4)
    with pytest.raises(ValueError, match="`size`"):
        _types.check_allocatable("`size`", (2**31, 0), 4)


def test_physical_memory_is_that_of_a_machine():
    assert 2**27 < _types.physical_memory() < 2**60
