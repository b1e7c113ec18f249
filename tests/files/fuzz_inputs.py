"""Hostile files from a seed: sound ones that were changed, and soups of their parts."""

from __future__ import annotations

from collections.abc import Callable
import functools
import io
import json
from pathlib import Path
from random import Random
import struct
import tempfile
import zipfile

import lucid
import mlx.core as mx
import numpy as np

from tests.files.fuzz_changes import NUMBERS, changed
from tests.files.pytorch.fuzz_pickles import pytorch
from tests.files.zips import write_sparse


@functools.cache
def saved(suffix: str) -> tuple[bytes, ...]:
    """Sound files of a format."""
    states = (
        {"w": mx.arange(6.0).reshape(2, 3), "b": mx.array([1.0], mx.bfloat16)},
        {"0-d": np.float64(0.5), "empty": mx.zeros((0, 3)), "T": mx.ones((2, 3)).T},
        {f"layer.{i}": mx.array([i], mx.int8) for i in range(5)},
        {},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        files = []
        for state in states:
            if suffix == ".safetensors":
                state = {k: v for k, v in state.items() if k != "0-d"}
            lucid.save(state, path)
            files.append(path.read_bytes())
        write_sparse(path, b"w.npy", 200)  # with the records of large archives
        files.append(path.read_bytes())
    return tuple(files)


def npz(rng: Random) -> bytes:
    if rng.random() < 0.5:
        return changed(rng.choice(saved(".npz")), rng)
    buffer = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    if rng.random() < 0.05:
        method = rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for i in range(rng.randint(0, 3)):
            name = rng.choice((f"{i}.npy", f"{i}.npy", "ä.npy", "a", "data.pkl", "/"))
            archive.writestr(f"{i}{name}", npy(rng))
    data = buffer.getvalue()
    return changed(data, rng) if rng.random() < 0.3 else data


def npy(rng: Random) -> bytes:
    """An array whose header says something near the truth."""
    descr = rng.choice(
        ("<f4", "<f4", ">f8", "|b1", "|V2", "<c8", "|O", "<U3", "<M8[s]")
    )
    shape = [rng.choice((0, 1, 2, 3)) for _ in range(rng.choice((0, 1, 2, 3, 40, 70)))]
    itemsize = np.dtype(descr).itemsize
    count = int(np.prod(shape[:8])) if len(shape) < 9 else 1
    if rng.random() < 0.3 and shape:
        shape[rng.randrange(len(shape))] = rng.choice((-1, *NUMBERS, 2**70))
    text = repr(
        {
            "descr": descr,
            "fortran_order": rng.random() < 0.3,
            "shape": tuple(shape),
        }
    )
    header = text.encode() + b"\n"
    if rng.random() < 0.3:
        header = changed(header, rng)
    version = rng.choice((1, 1, 1, 2, 3))
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    extra = rng.choice((0, 0, 0, -1, 1, 100))
    data = rng.randbytes(max(min(count * itemsize, 4000) + extra, 0))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + data


def safetensors(rng: Random) -> bytes:
    if rng.random() < 0.4:
        return changed(rng.choice(saved(".safetensors")), rng)
    header, end = {}, 0
    for i in range(rng.randint(0, 4)):
        dtype, itemsize = rng.choice(
            (
                ("F32", 4),
                ("BF16", 2),
                ("BOOL", 1),
                ("F64", 8),
                ("C64", 8),
                ("F8_E4M3", 1),
            )
        )
        shape = [rng.choice((0, 1, 2, 3)) for _ in range(rng.choice((0, 1, 2, 3, 70)))]
        size = int(np.prod(shape[:8])) * itemsize if len(shape) < 9 else itemsize
        offsets: list = [end, end + size]
        end += size
        if rng.random() < 0.2:
            odd = (-1, *NUMBERS, 2**70, True, None, "1", 1.5, [], {}, [[]])
            part = rng.choice((offsets, shape or offsets))
            part[rng.randrange(len(part))] = rng.choice(odd)
        name = rng.choice((f"w{i}", f"w{i}", "w0", "", "\0", "\ud800", "__metadata__"))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    if rng.random() < 0.2:
        header["__metadata__"] = rng.choice(({"format": "pt"}, {}, None, 1, {"a": 1}))
    text = json.dumps(header).encode()
    if rng.random() < 0.3:
        text = changed(text, rng)
    length = len(text) if rng.random() < 0.95 else rng.choice(NUMBERS)
    data = rng.randbytes(min(max(end + rng.choice((0, 0, 0, 0, 1, -1)), 0), 4000))
    return struct.pack("<Q", length) + text + data


GENERATORS: dict[str, Callable[[Random], bytes]] = {
    "npz": npz,
    "safetensors": safetensors,
    "pytorch": pytorch,
}
