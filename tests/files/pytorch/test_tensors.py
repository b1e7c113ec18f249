"""Tensors as views of storages: what they may claim, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lucid
import mlx.core as mx
import numpy as np
import pytest

from tests.files import refused
from tests.files.pytorch import CHECKPOINTS
from tests.files.pytorch.assemble import (
    ORDERED,
    call,
    legacy,
    name,
    pickled,
    storage,
    tensor,
    value,
    zipped,
)

FLOATS = storage()


def load(path: Path, opcodes: bytes, storages: Any = None) -> mx.array:
    path.write_bytes(zipped(pickled({"w": opcodes}), storages))
    return lucid.load(path)["w"]


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((6,), (1,), 0),
        ((2, 3), (3, 1), 0),
        ((3, 2), (1, 3), 0),
        ((2,), (4,), 1),
        ((), (), 5),
        ((1, 1), (10**9, 7), 3),
        ((3, 3), (1, 1), 0),
        ((0, 2**31 - 1), (1, 1), 0),
        ((1,) * 64, (1,) * 64, 2),
    ],
)
def test_shape_strides_and_offset_are_honored(
    shape: Any, strides: Any, offset: int, tmp_path: Path
):
    got = load(tmp_path / "a", tensor(shape, strides, offset))
    assert got.shape == shape
    if got.size > 0:
        steps = [4 * s if n > 1 else 0 for n, s in zip(shape, strides, strict=True)]
        data = np.arange(6, dtype=np.float32)
        want = np.ndarray(shape, np.float32, data, 4 * offset, steps)
        assert np.array(got).tolist() == want.tolist()


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((7,), (1,), 0),
        ((6,), (1,), 1),
        ((2, 3), (4, 1), 0),
        ((), (), 6),
        ((2,), (-1,), 1),
        ((-1,), (1,), 0),
        ((1,), (1,), -1),
        ((2**31,), (0,), 0),
        ((2**62,), (0,), 0),
        ((2,), (2**62,), 0),
        ((2,), (2**61,), 2**61),
        ((2,), (1, 1), 0),
        ((2, 3), (1,), 0),
        ((True, 2), (1, 1), 0),
        ((1.0,), (1,), 0),
        (("1",), (1,), 0),
        ((None,), (1,), 0),
        ([6], (1,), 0),
        (6, 1, 0),
        ((6,), (1,), 0.0),
        ((6,), (1,), None),
        ((1,) * 65, (1,) * 65, 0),
    ],
)
def test_what_no_storage_holds_is_refused(
    shape: Any, strides: Any, offset: Any, tmp_path: Path
):
    for file in (zipped, legacy):
        data = file(pickled({"w": tensor(shape, strides, offset)}))
        refused(tmp_path / "a", data, "byte ", "at 'w'")


@pytest.mark.parametrize(
    "shape", [(2**30,), (2**31 - 1, 2**31 - 1), (2**15, 2**15), (2**31 - 1,) * 30]
)
def test_repeated_items_may_not_unfold_to_memory(shape: Any, tmp_path: Path):
    strides = (0,) * len(shape)
    refused(tmp_path / "a", zipped(pickled(tensor(shape, strides))), "unfold to")


def test_many_views_of_one_storage_may_not_unfold_to_memory(tmp_path: Path):
    views = [tensor((2**20 - i,), (0,)) for i in range(20)]
    refused(tmp_path / "a", zipped(pickled(views)), "unfold to")


def test_bools_are_zero_or_one(tmp_path: Path):
    opcodes = tensor((6,), (1,), 0, storage(kind="BoolStorage"))
    got = load(tmp_path / "a", opcodes, {"0": bytes([0, 1, 2, 3, 255, 0])})
    assert got.dtype == mx.bool_
    assert got.view(mx.uint8).tolist() == [0, 1, 1, 1, 1, 0]


def test_a_storage_that_does_not_say_its_dtype_is_read(tmp_path: Path):
    of = value(("storage", name("torch.storage", "UntypedStorage"), "0", "cpu", 24))
    rebuild = name("torch._utils", "_rebuild_tensor_v3")
    arguments = (of + b"Q", 1, (3,), (2,), False, ORDERED)
    got = load(tmp_path / "a", call(rebuild, *arguments, name("torch", "float32")))
    assert got.tolist() == [1, 3, 5]
    refused(
        tmp_path / "a",
        zipped(pickled(call(rebuild, *arguments, name("torch", "float64")))),
        "needs 6 items of 3",
    )


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    {
        "sparse.pt": ("at 'w'", "sparse", "to_dense()"),
        "quantized.pt": ("at 'w'", "quantized", "dequantize()"),
        "meta.pt": ("at 'w'", "meta"),
        "nested_tensor.pt": ("at 'w'", "nested", "unbind()"),
        "float8.pt": ("at 'w'", "float8_e4m3fn", "float()"),
        "complex128.pt": ("at 'w'", "complex128", "to(torch.complex64)"),
        "storage.pt": ("['w']", "Storage", "save tensors"),
    }.items(),
)
def test_a_kind_that_is_not_read_is_named_with_the_way_to_save_it(
    checkpoint: str, words: tuple[str, ...]
):
    with pytest.raises(lucid.CheckpointError) as error:
        lucid.load(CHECKPOINTS / checkpoint)
    for word in (str(CHECKPOINTS / checkpoint), "data.pkl", *words):
        assert word in str(error.value)


@pytest.mark.parametrize(
    "opcodes",
    {
        "no storage": tensor(of=value(None)),
        "a class for a storage": tensor(of=name("torch", "FloatStorage")),
        "a tensor for a storage": tensor(of=tensor()),
        "negative items": tensor(of=storage(-1)),
        "items beyond 64 bits": tensor(of=storage(2**70)),
        "items that are true": tensor(of=storage(True)),
        "no key": tensor(of=storage(key=None)),
        "a key that is a path": tensor(of=storage(key="../version")),
        "an unknown kind": tensor(of=value(("storage", ORDERED, "0", "cpu", 6)) + b"Q"),
        "a call for a kind": tensor(
            of=value(("storage", name("_codecs", "encode"), "0", "cpu", 6)) + b"Q"
        ),
        "no id": b"NQ",
        "a string for an id": value("storage") + b"Q",
        "two kinds of one storage": value([FLOATS, storage(kind="IntStorage")]),
        "two lengths of one storage": value([FLOATS, storage(5)]),
        "hooks that are no dict": call(
            *(name("torch._utils", "_rebuild_tensor_v2"), FLOATS, 0, (6,), (1,), False),
            None,
        ),
        "unknown metadata": tensor((2, 3), (3, 1), 0, FLOATS, {"other": 1}),
        "no arguments": call(name("torch._utils", "_rebuild_tensor_v2")),
        "a parameter of no tensor": call(
            name("torch._utils", "_rebuild_parameter"), 1, True, ORDERED
        ),
        "a tensor of a class called": call(
            *(name("torch._tensor", "_rebuild_from_type_v2"), name("posix", "system")),
            *(name("torch", "Tensor"), ("touch x",), None),
        ),
        "a tensor by another function": call(
            *(
                name("torch._tensor", "_rebuild_from_type_v2"),
                name("_codecs", "encode"),
            ),
            *(name("torch", "Tensor"), ("x", "latin1"), None),
        ),
    }.values(),
)
def test_a_damaged_tensor_is_refused(opcodes: bytes, tmp_path: Path):
    refused(tmp_path / "a", zipped(pickled({"w": opcodes})), "a/data")
