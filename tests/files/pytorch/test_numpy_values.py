"""NumPy's scalars, dtypes and arrays in checkpoints."""

from __future__ import annotations

from pathlib import Path
import pickle
from typing import Any

import lucid
import numpy as np
import pytest

from tests.files import refused
from tests.files.pytorch import assert_same
from tests.files.pytorch.assemble import zipped

PROTOCOLS = pytest.mark.parametrize("protocol", [2, 3, 4, 5])


def load(path: Path, of: Any, protocol: int) -> Any:
    """Through Python's own pickler, which is how `torch.save` writes them."""
    path.write_bytes(zipped(pickle.dumps(of, protocol), {}))
    return lucid.load(path)


SCALARS = [
    *(np.bool_(True), np.float16(0.5), np.float32(0.25), np.float64(0.1)),
    *(np.int8(-3), np.int64(2**62), np.uint64(2**64 - 1), np.complex64(1 + 2j)),
    *(np.str_("größe"), np.str_(""), np.bytes_(b"ab"), np.complex128(1j)),
]


@PROTOCOLS
@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: scalar.dtype.str)
def test_scalars_are_pythons_numbers(scalar: Any, protocol: int, tmp_path: Path):
    loaded = load(tmp_path / "a", scalar, protocol)
    assert loaded == scalar.item()
    assert type(loaded) is type(scalar.item())


@PROTOCOLS
@pytest.mark.parametrize("dtype", ["<f4", ">i8", "?", "u1", "<c8", "f8", "<U3", "S2"])
def test_dtypes_are_dtypes(dtype: str, protocol: int, tmp_path: Path):
    assert load(tmp_path / "a", np.dtype(dtype), protocol) == np.dtype(dtype)


@PROTOCOLS
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "?", "u1", "<i8", "<f2", "<c8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_arrays(dtype: str, order: Any, protocol: int, tmp_path: Path):
    array = np.arange(6).reshape(2, 3).astype(dtype, order=order)
    loaded = load(tmp_path / "a", [array, array[:0], array[1, 1:2]], protocol)
    native = array.astype(array.dtype.newbyteorder("="))
    assert_same(loaded[0], native)
    assert loaded[1].shape == (0, 3)
    assert_same(loaded[2], native[1, 1:2])


@PROTOCOLS
def test_a_shared_array_is_one_array(protocol: int, tmp_path: Path):
    array = np.ones(3)
    first, second = load(tmp_path / "a", [array, array], protocol)
    assert first is second


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (np.array([{}], object), "NumPy"),
        (np.zeros(2, [("a", "f4")]), "NumPy"),
        (np.zeros(2, "M8[s]"), "NumPy dtype"),
        (np.datetime64(3, "s"), "NumPy dtype"),
        (np.array(["a"]), "dtype <U1, which MLX does not have"),
        (np.zeros(2, complex), "dtype complex128, which MLX does not have"),
        *((kind(1), "NumPy") for kind in [np.longdouble] if kind(1).itemsize > 8),
        (np.dtype([("a", "f4")]), "NumPy dtype"),
        (np.dtype(("f4", (2,))), "NumPy dtype"),
        (np.random.default_rng(0), "numpy.random"),
    ],
    ids=str,
)
def test_what_is_no_number_is_refused(of: Any, words: str, tmp_path: Path):
    for protocol in (2, 5):
        refused(tmp_path / "a", zipped(pickle.dumps({"x": of}, protocol), {}), words)


SCALAR, ARRAY = (pickle.dumps(of, 2) for of in (np.float64(1.5), np.arange(3)))


@pytest.mark.parametrize(
    ("sound", "part", "instead"),
    [
        (SCALAR, b"f8", b"O8"),
        (SCALAR, b"f8", b"f4"),
        (SCALAR, b"f8", b"f3"),
        (SCALAR, b"f8", b"V8"),
        (SCALAR, b"<", b"~"),
        (SCALAR, b"latin1", b"latin9"),
        (ARRAY, b"i8", b"i4"),
        (ARRAY, b"i8", b"O8"),
        (ARRAY, b"K\x03\x85", b"K\x04\x85"),
        (ARRAY, b"K\x03\x85", b"N\x85"),
        (ARRAY, b"K\x03\x85", b"]\x85"),
        (ARRAY, b"K\x03\x85", b"J\xff\xff\xff\xff\x85"),
        (ARRAY, b"K\x03\x85", b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85"),
        (ARRAY, b"ndarray", b"memmap_"),
    ],
)
def test_a_damaged_number_or_array_is_refused(
    sound: bytes, part: bytes, instead: bytes, tmp_path: Path
):
    assert part in sound
    refused(tmp_path / "a", zipped(sound.replace(part, instead), {}), "a/data.pkl")
