"""Tensors of given values: NumPy's numbers, errors that name `data`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lucid
from lucid import _types
import mlx.core as mx
import numpy as np
import pytest

Maker = Callable[..., mx.array]

VOLUME = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
LAYOUTS = {
    "C order": VOLUME,
    "Fortran order": np.asfortranarray(VOLUME),
    "transposed and strided": VOLUME.transpose(2, 0, 1)[::2],
    "flipped": VOLUME[:, ::-1],
    "big-endian": VOLUME.astype(">i2"),
    "broadcast and read-only": np.broadcast_to(VOLUME[:1], (3, 3, 4)),
    "0-d": np.array(2, np.int8),
    "empty": VOLUME[:0],
    "bool": VOLUME > 3,
}


KINDS = [(True, "bool"), (2**31 - 1, "int32"), (0.1, "float32"), (1 + 2j, "complex64")]


def assert_same(got: mx.array, want: Any):
    want = np.asarray(want)
    assert _types.dtype_name(got.dtype) == want.dtype.name
    np.testing.assert_array_equal(np.array(got), want)


@pytest.mark.parametrize(("value", "dtype"), KINDS)
def test_a_value_keeps_its_kind(value: Any, dtype: str):
    for data in (value, np.array(value, dtype)[()]):
        assert_same(lucid.tensor(data), np.array(value, dtype))
        assert_same(lucid.tensor([[data], [data]]), np.full((2, 1), value, dtype))


def test_every_digit_that_the_dtype_holds_is_kept():
    for data in ([0.1], np.array([0.1]), [np.array(0.1)]):
        assert lucid.tensor(data, dtype="float64", device="cpu").item() == 0.1
    for value in (2**64 - 1, 2**53 + 1):
        assert lucid.tensor([value], dtype="uint64").item() == value
    assert lucid.tensor([2**53 + 1], dtype="int64").item() == 2**53 + 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", [lucid.from_numpy, lucid.tensor])
def test_numpy_arrays_of_every_layout_keep_values_and_dtype(layout: str, make: Maker):
    array = LAYOUTS[layout]
    assert_same(make(array), array.astype(array.dtype.newbyteorder("=")))


def test_numpys_float64_becomes_a_float32_copy():
    array = np.array([0.1, 2])
    made = lucid.stack([lucid.tensor(array), lucid.from_numpy(array)])
    array[:] = 7
    assert_same(made, np.array([[0.1, 2]] * 2, np.float32))


@pytest.mark.parametrize("make", [lucid.from_numpy, lucid.tensor])
def test_what_is_no_number_is_refused(make: Maker):
    for data in ("abc", None, {}, [[1, 2], [3]], np.array("a"), np.array([None])):
        with pytest.raises((TypeError, ValueError), match=r"."):
            make(data)


def test_a_conversion_drops_fractions_and_ends_at_infinity():
    assert lucid.tensor([1.9, -1.9], dtype="int8").tolist() == [1, -1]
    big = lucid.tensor([1e39, -(10**60)], dtype="float32")
    assert big.tolist() == [np.inf, -np.inf]
    assert lucid.tensor([0.0, 0.5], dtype="bool").tolist() == [False, True]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((value, "uint8") for value in (256, -1, 300.0, np.nan, np.inf, 1j)),
        *((value, "int64") for value in (2**63, 1e19)),
        *((value, "float32") for value in (1j, 10**400)),
        *((value, None) for value in (2**63, -(2**63) - 1, 10**400)),
    ],
)
def test_a_number_that_the_dtype_cannot_hold_is_a_value_error(value: Any, dtype: Any):
    for data in (value, [value, 1], [[1], (value,)]):
        with pytest.raises(ValueError, match="`data`"):
            lucid.tensor(data, dtype=dtype)


@pytest.mark.parametrize(
    "scalar", [np.datetime64(1, "s"), np.timedelta64(1, "ns"), np.str_("1")], ids=repr
)
def test_a_scalar_of_numpy_that_is_no_number_is_a_type_error(scalar: Any):
    for data in (
        scalar,
        [scalar],
        [[1.0, scalar]],
        np.array(scalar),
        [np.array(scalar)],
    ):
        with pytest.raises(TypeError, match="`data`"):
            lucid.tensor(data)


def test_arrays_in_lists_are_stacked():
    rows = [np.arange(3.0), [1, 2, np.float32(3)], mx.arange(3)]
    assert lucid.tensor(rows).tolist() == [[0, 1, 2], [1, 2, 3], [0, 1, 2]]


def test_a_list_that_holds_itself_is_a_value_error():
    data: list[Any] = [1]
    data.append(data)
    with pytest.raises(ValueError, match="`data`"):
        lucid.tensor(data)
