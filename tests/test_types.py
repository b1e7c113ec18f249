"""What a user's words for dtypes, devices and sizes become."""

from __future__ import annotations

from fractions import Fraction
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
        ((3,), (3, 3, 3)),
        ((1, 2, 3), (1, 2, 3)),
        ([1, 2, 3], (1, 2, 3)),
        ((np.int64(1), np.uint8(2), 3), (1, 2, 3)),
    ],
)
def test_triple_is_one_int_three_times_or_three_ints(value: Any, want: Any):
    got = _types.triple("k", value, minimum=1)
    assert got == want
    assert all(type(size) is int for size in got)


@pytest.mark.parametrize("value", [(1, 2), (1, 2, 3, 4), (), [1, 2]])
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


NO_NUMBERS: list[Any] = [
    *("1", b"1", None, (1,), [1], {}, int),
    *(np.datetime64(1, "s"), np.datetime64(1, "ns"), np.datetime64("NaT")),
    *(np.timedelta64(1, "s"), np.timedelta64(1, "ns"), np.array(1, "m8[ns]")),
    *(np.str_("1"), np.array([1]), mx.array([1.0])),
]


@pytest.mark.parametrize("check", [_types.number, _types.real, _types.finite])
@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_a_type_error_naming_it(check: Any, value: Any):
    with pytest.raises(TypeError, match=r"`x` .* must be a number"):
        check("x", value)


@pytest.mark.parametrize(
    "value", [np.float16(0.5), np.float64(0.5), mx.array(0.5), Fraction(1, 2), 0.5]
)
def test_numbers_of_any_library_are_pythons(value: Any):
    for check in (_types.number, _types.real, _types.finite):
        got = check("x", value)
        assert type(got) is float
        assert got == 0.5


def test_a_real_number_is_neither_a_bool_nor_complex():
    for value in (True, np.True_, 1j, np.complex64(1)):
        assert _types.number("x", value) == value
        with pytest.raises(TypeError, match=r"`x` .* real number"):
            _types.real("x", value)


def test_a_number_that_is_no_finite_float_is_a_value_error():
    assert _types.real("x", np.float32("inf")) == np.inf
    for value in (np.inf, -np.inf, np.nan, 10**400, -(10**5000)):
        with pytest.raises(ValueError, match="`x`"):
            _types.finite("x", value)


def test_a_number_in_a_trace_is_a_type_error_naming_it():
    def traced(x: mx.array) -> mx.array:
        for check in (_types.integer, _types.real):
            with pytest.raises(TypeError, match="`x`"):
                check("x", x)
        return x

    mx.compile(traced)(mx.array(1))


INTEGERS = [name for name in NUMPY_DTYPES if np.dtype(name).kind in "iu"]
FLOATS = [name for name in NUMPY_DTYPES if np.dtype(name).kind == "f"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_an_integer_scalar_is_exact_or_refused(dtype: str):
    bounds = np.iinfo(dtype)
    resolved = _types.DTYPES[dtype]
    for value in (bounds.min, bounds.max, bounds.max - 1, True, 7.0, np.uint8(9)):
        got = _types.scalar("x", value, resolved)
        assert (got.dtype, got.item()) == (resolved, value)
    bad = bounds.min - 1, bounds.max + 1, 10**5000, 0.5, 1e30, np.inf, np.nan, 1j
    for value in bad:
        with pytest.raises(ValueError, match=rf"`x` .* ({dtype}|no dtype) holds"):
            _types.scalar("x", value, resolved)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_floating_scalar_is_rounded_as_numpy_rounds_it_or_refused(dtype: str):
    largest = float(np.finfo(dtype).max)
    resolved = _types.DTYPES[dtype]
    with mx.stream(mx.cpu):
        for value in (0.1, -largest, 2**15 + 1, True, np.inf, -np.inf, np.nan):
            got = _types.scalar("x", value, resolved)
            assert got.dtype == resolved
            np.testing.assert_equal(got.item(), np.array(value, dtype).item())
    for value in (int(largest) * 2, -int(largest) * 2, 10**5000, 1j):
        with pytest.raises(ValueError, match=rf"`x` .* ({dtype}|no dtype) holds"):
            _types.scalar("x", value, resolved)


def test_a_bool_scalar_is_zero_or_one_and_a_complex_one_any_number():
    for value in (0, 1.0, True):
        assert _types.scalar("x", value, mx.bool_).item() is bool(value)
    for value in (2, -1, 0.5, np.nan, 1j):
        with pytest.raises(ValueError, match=r"`x` .* bool"):
            _types.scalar("x", value, mx.bool_)
    for value in (2, 0.5, 1 + 2j, np.inf):
        assert _types.scalar("x", value, mx.complex64).item() == value
    with pytest.raises(ValueError, match=r"`x` .* complex64"):
        _types.scalar("x", 1e300j, mx.complex64)


def test_one_of_takes_the_strings_there_are():
    assert _types.one_of("mode", "b", ("a", "b")) == "b"
    with pytest.raises(ValueError, match=r"`mode` \(='c'\) .*'a', 'b'"):
        _types.one_of("mode", "c", ("a", "b"))
    for value in (None, 1, ["a"], mx.ones(2), b"a"):
        with pytest.raises(TypeError, match=r"`mode` .* string"):
            _types.one_of("mode", value, ("a", "b"))


def test_a_flag_is_a_bool_or_what_pytorch_takes_for_one():
    assert [_types.flag("bias", value) for value in (True, 1, np.True_)] == [True] * 3
    assert [_types.flag("bias", value) for value in (False, 0)] == [False] * 2
    for value in (2, 1.0, "yes", None, [], np.ones(1), mx.array(1)):
        with pytest.raises(TypeError, match=r"`bias` .*True or False"):
            _types.flag("bias", value)


def test_an_axis_counts_from_either_end():
    assert [_types.axis_of("dim", dim, 3) for dim in (-3, -1, 0, 2)] == [0, 2, 0, 2]
    for dim, ndim in ((3, 3), (-4, 3), (0, 0), (10**5000, 3)):
        with pytest.raises(ValueError, match="`dim`"):
            _types.axis_of("dim", dim, ndim)
    for dim in (1.0, None, True, "0", (0,)):
        with pytest.raises(TypeError, match="`dim`"):
            _types.axis_of("dim", dim, 3)


def test_a_value_is_shown_shortly():
    assert _types.shown((1, "a")) == "(1, 'a')"
    assert _types.shown(mx.zeros((2, 3))) == "an array of shape (2, 3)"
    assert _types.shown(10**5000) == "a int"
    assert len(_types.shown(list(range(1000)))) <= 200


def test_sizes_beyond_any_float_are_refused_by_name():
    for call in (
        lambda: _types.integer("n", 10**5000),
        lambda: _types.positive("n", -(10**5000)),
        lambda: _types.positive("n", -(10**30)),
        lambda: _types.triple("n", 10**5000, 1),
        lambda: _types.check_allocatable("`n`", (10**5000, 2), 4),
    ):
        with pytest.raises(ValueError, match="`n`"):
            call()


def test_an_array_of_another_library_is_named_with_it():
    with pytest.raises(TypeError, match=r"got numpy\.ndarray; lucid\.tensor makes one"):
        _types.check_array("x", np.zeros(3))
    with pytest.raises(TypeError, match=r"got list\.$"):
        _types.check_array("x", [1.0])
