"""Any file of either format is read as it was, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import lucid
from lucid import _types
import mlx.core as mx
import numpy as np
import pytest

from tests.files import NPZ, SAFETENSORS, STATE, refused


def test_every_truncation_is_refused(path: Path):
    lucid.save(STATE, path)
    data = path.read_bytes()
    for size in range(len(data)):
        refused(path, data[:size])


ARRAYS = hnp.arrays(
    st.sampled_from(["<f4", ">f4", "<f2", "<i8", ">u2", "?", "<c8"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    state=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), ARRAYS),
    suffix=st.sampled_from([NPZ, SAFETENSORS]),
)
def test_any_state_comes_back(
    state: dict[str, np.ndarray], suffix: str, tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.mktemp("any", numbered=True) / f"a{suffix}"
    state = {name: array for name, array in state.items() if "\0" not in name}
    lucid.save(state, path)
    loaded = lucid.load(path)
    assert set(loaded) == set(state)
    for name, array in state.items():
        assert _types.dtype_name(loaded[name].dtype) == array.dtype.name
        np.testing.assert_array_equal(np.array(loaded[name]), array)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    suffix=st.sampled_from([NPZ, SAFETENSORS]),
    cuts=st.lists(
        st.tuples(st.integers(0, 600), st.integers(0, 40), st.binary(max_size=20)),
        min_size=1,
        max_size=3,
    ),
)
def test_a_mangled_file_is_read_or_refused(
    suffix: str, cuts: list[Any], tmp_path_factory: pytest.TempPathFactory
):
    path = tmp_path_factory.mktemp("mangled", numbered=True) / f"a{suffix}"
    lucid.save(STATE, path)
    data = path.read_bytes()
    for start, length, new in cuts:
        start %= len(data) + 1
        data = data[:start] + new + data[start + length :]
    path.write_bytes(data)
    try:
        loaded = lucid.load(path)
    except lucid.CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert all(isinstance(array, mx.array) for array in loaded.values())
