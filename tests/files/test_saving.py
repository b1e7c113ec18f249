"""Everything comes back as it was, and other programs read and write the files."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
from typing import Any

import lucid
from lucid import _types
import lucid.nn as nn
import mlx.core as mx
import mlx.optimizers
from mlx.utils import tree_flatten, tree_unflatten
import numpy as np
import pytest

from tests.files import NPZ, SAFETENSORS, STATE, assert_equal

NAMES = [
    *("file", "", "a/b", "../x", "/root", "a.npy", ".npy", ".", "..", "a..b", " ", "0"),
    *("args", "kwds", "arr_0", "compression", "C:\\x", "it's", '"', "a\nb\r\t", "\x01"),
    *("größe", "重み", "🧠", "e\u0301", "é", "\ufeff", "\u2028", "x" * 60_000),
]
BAD_NAMES = ["\0", "a\0b", "\ud800", "__metadata__", "x" * 70_000]


def values(dtype: str) -> mx.array:
    """Six numbers that show lost digits, signs and special values."""
    if dtype.startswith(("int", "uint")):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        array = np.array([low, high, 0, 1, high - 1, high // 3], dtype)
    elif dtype == "complex64":
        array = np.array([1j, -1j, 0, np.inf, 0.1 + 0.2j, np.nan], dtype)
    else:
        array = np.array([0.1, -0.0, np.inf, np.nan, -3.0, 1e-7])
    return mx.array(array, _types.DTYPES[dtype])


@pytest.mark.parametrize("dtype", sorted(_types.DTYPES.keys() - {"float64"}))
def test_every_dtype_and_shape_comes_back(path: Path, dtype: str):
    array = values(dtype)
    state = {
        "flat": array,
        "0-d": array[3],
        "empty": array[:0],
        "empty 3-d": array[:0].reshape(3, 0, 2),
        "transposed": array.reshape(2, 3).T,
        "strided": array[::-2],
        "broadcast": mx.broadcast_to(array, (2, 6)),
    }
    lucid.save(state, path)
    assert_equal(lucid.load(path), state)


def test_numpys_float64_keeps_every_digit_in_npz(tmp_path: Path):
    array = np.array([[0.1, np.pi], [1e300, -0.0]])
    lucid.save({"a": array, "0-d": np.float64(0.1)}, tmp_path / "a.npz")
    loaded = lucid.load(tmp_path / "a.npz")
    assert loaded["a"].dtype == loaded["0-d"].dtype == mx.float64
    assert loaded["a"].tolist() == array.tolist()
    assert loaded["0-d"].item() == 0.1


def test_safetensors_refuses_float64_by_name(tmp_path: Path):
    with pytest.raises((TypeError, ValueError), match=r"layer\.weight"):
        lucid.save({"layer.weight": np.ones(2)}, tmp_path / "a.safetensors")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("layout", ["C", "big-endian", "Fortran", "flipped"])
def test_numpy_arrays_of_every_layout_come_back(path: Path, layout: str):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    laid_out = {
        "C": array,
        "big-endian": array.astype(">f4"),
        "Fortran": np.asfortranarray(array),
        "flipped": array[::-1, ::-1],
    }[layout]
    lucid.save({"a": laid_out}, path)
    assert lucid.load(path)["a"].dtype == mx.float32
    assert lucid.load(path)["a"].tolist() == laid_out.tolist()


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_every_name_comes_back(path: Path, name: str):
    lucid.save({name: mx.ones(2)}, path)
    assert_equal(lucid.load(path), {name: mx.ones(2)})
    assert os.listdir(path.parent) == [path.name]


def test_all_names_fit_in_one_file(path: Path):
    state = {name: mx.array([i]) for i, name in enumerate(NAMES)}
    lucid.save(state, path)
    assert_equal(lucid.load(path), state)


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:20])
def test_a_name_that_no_file_can_hold_is_refused(path: Path, name: str):
    with pytest.raises(ValueError, match=r"name that no file can hold"):
        lucid.save({name: mx.ones(2)}, path)
    assert os.listdir(path.parent) == []


def test_numpy_and_mlx_read_npz(tmp_path: Path):
    lucid.save(STATE, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert set(arrays) == set(STATE)
        assert arrays["w"].tolist() == STATE["w"].tolist()
        assert arrays["bias"].dtype == np.dtype("V2")
        halves = mx.array(arrays["bias"].view(np.uint16)).view(mx.bfloat16)
    assert halves.tolist() == [5, 6]


def test_mlx_reads_both_formats(path: Path):
    lucid.save(STATE, path)
    loaded = mx.load(str(path))
    assert isinstance(loaded, dict)
    assert_equal(loaded, STATE)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(tmp_path: Path, write: Callable[..., None]):
    arrays = {
        "float64": np.array([[0.1, 0.2]]),
        "big-endian": np.arange(3, dtype=">i8"),
        "Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "0-d": np.array(True),
        "empty": np.zeros((0, 2), np.float16),
    }
    write(tmp_path / "a.npz", **arrays)
    loaded = lucid.load(tmp_path / "a.npz")
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        assert _types.dtype_name(loaded[name].dtype) == array.dtype.name
        assert loaded[name].tolist() == array.tolist()


@pytest.mark.parametrize("write", [mx.savez, mx.savez_compressed, mx.save_safetensors])
def test_what_mlx_writes_is_read(tmp_path: Path, write: Callable[..., None]):
    path = tmp_path / (f"a{SAFETENSORS}" if write is mx.save_safetensors else f"a{NPZ}")
    if write is mx.save_safetensors:
        mx.save_safetensors(str(path), STATE, metadata={"format": "mlx"})
    else:
        write(str(path), **STATE)
    assert_equal(lucid.load(path), STATE)


def test_saving_back_to_the_path_just_loaded_keeps_the_arrays(path: Path):
    lucid.save(STATE, path)
    lucid.save(lucid.load(path), path)
    loaded = lucid.load(path)
    path.write_bytes(bytes(path.stat().st_size))  # in place: all was read already
    assert_equal(loaded, STATE)


def test_an_optimizers_nested_state_comes_back(path: Path):
    model = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Conv3d(2, 1, 1))
    optimizer = mlx.optimizers.Adam(1e-3)
    optimizer.init(model.trainable_parameters())
    lucid.save(optimizer.state, path)
    flat: dict[str, Any] = dict(tree_flatten(optimizer.state))
    assert len(flat) == 10
    loaded = lucid.load(path)
    assert_equal(loaded, flat)
    nested = tree_unflatten(list(loaded.items()))
    assert_equal(dict(tree_flatten(nested)), flat)


def test_equal_states_make_equal_bytes(path: Path):
    lucid.save(STATE, path)
    first = path.read_bytes()
    lucid.save(STATE, path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("name", ["a", "a.npy", "a.npz.gz", "a.NPZ", "npz", "a.pt"])
def test_another_suffix_is_a_value_error(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=r"must end in \.npz or \.safetensors"):
        lucid.save(STATE, tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "state", [nn.Conv3d(1, 1, 1), None, [mx.ones(1)], mx.ones(1), "weights", 3], ids=str
)
def test_what_is_no_dict_of_arrays_is_a_type_error(path: Path, state: Any):
    with pytest.raises(TypeError, match=r"`state` must be a dict"):
        lucid.save(state, path)
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize(
    "value", [1, 2.0, None, "w", np.array(["w"]), np.ones(1, "c16")]
)
def test_an_entry_that_is_no_array_is_a_type_error_by_name(path: Path, value: Any):
    with pytest.raises(TypeError, match=r"`state\['a\.b\.0'\]`"):
        lucid.save({"a": {"b": [value]}}, path)
    assert os.listdir(path.parent) == []


def test_a_number_is_told_how_to_become_an_array(path: Path):
    with pytest.raises(TypeError, match=r"'epoch'.* int; mx\.array makes one"):
        lucid.save({"epoch": 3}, path)


@pytest.mark.parametrize("axes", [65, 200])
def test_more_axes_than_numpy_has_are_a_value_error(path: Path, axes: int):
    with pytest.raises(ValueError, match=rf"`state\['w'\]` has {axes} axes"):
        lucid.save({"w": mx.zeros((1,) * axes)}, path)
    assert os.listdir(path.parent) == []


def test_a_state_that_contains_itself_is_a_value_error(path: Path):
    state: dict[str, Any] = {"a": mx.ones(1)}
    state["b"] = [state]
    with pytest.raises(ValueError, match=r"`state` is nested too deep"):
        lucid.save(state, path)
    assert os.listdir(path.parent) == []


def test_two_entries_of_one_dotted_name_are_a_value_error(path: Path):
    with pytest.raises(ValueError, match=r"two entries called 'a\.0'"):
        lucid.save({"a.0": mx.ones(1), "a": [mx.ones(1)]}, path)


def test_a_file_or_folder_that_is_not_there_is_an_os_error(path: Path):
    with pytest.raises(FileNotFoundError):
        lucid.load(path)
    with pytest.raises(FileNotFoundError):
        lucid.save(STATE, path.parent / "missing" / path.name)


def test_more_than_the_machine_holds_is_refused_by_name(tmp_path):
    endless = mx.broadcast_to(mx.array(1.0), (2**20, 2**30))  # takes no memory
    with pytest.raises(ValueError, match="`state"):
        lucid.save({"a": endless}, tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []
