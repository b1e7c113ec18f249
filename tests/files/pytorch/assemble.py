"""Pickles put together by hand, and the files around them."""

from __future__ import annotations

import io
import struct
from typing import Any
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C
START, STOP = b"\x80\x02", b"."


def value(of: Any) -> bytes:
    """What pushes a value; bytes are opcodes already."""
    if isinstance(of, bytes):
        return of
    if of is None or isinstance(of, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[of]
    if isinstance(of, int):
        size = of.bit_length() // 8 + 1
        return b"\x8a" + bytes([size]) + of.to_bytes(size, "little", signed=True)
    if isinstance(of, float):
        return b"G" + struct.pack(">d", of)
    if isinstance(of, str):
        text = of.encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(text)) + text
    if isinstance(of, tuple):
        return b"(" + b"".join(map(value, of)) + b"t"
    if isinstance(of, list):
        return b"](" + b"".join(map(value, of)) + b"e"
    assert isinstance(of, dict)
    pairs = (value(key) + value(entry) for key, entry in of.items())
    return b"}(" + b"".join(pairs) + b"u"


def name(module: str, what: str) -> bytes:
    return b"c" + f"{module}\n{what}\n".encode()


def call(function: bytes, *arguments: Any) -> bytes:
    return function + value(arguments) + b"R"


def new(kind: bytes, *arguments: Any) -> bytes:
    return kind + value(arguments) + b"\x81"


def build(of: bytes, state: Any) -> bytes:
    return of + value(state) + b"b"


ORDERED = call(name("collections", "OrderedDict"))


def storage(items: Any = 6, kind: str = "FloatStorage", key: Any = "0") -> bytes:
    return value(("storage", name("torch", kind), key, "cpu", items)) + b"Q"


def tensor(
    shape: Any = (2, 3),
    strides: Any = (3, 1),
    offset: Any = 0,
    of: bytes | None = None,
    *more: Any,
) -> bytes:
    of = storage() if of is None else of
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, of, offset, shape, strides, False, ORDERED, *more)


def pickled(opcodes: Any) -> bytes:
    return START + value(opcodes) + STOP


def zipped(
    pickle: bytes, storages: dict[str, bytes] | None = None, **options: Any
) -> bytes:
    """As `torch.save` writes it; by default storage 0 holds 0, 1, 2, 3, 4, 5."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        archive.writestr("a/data.pkl", pickle)
        for key, data in (FLOATS if storages is None else storages).items():
            archive.writestr(f"a/data/{key}", data)
        archive.writestr("a/version", b"3\n")
    return buffer.getvalue()


FLOATS = {"0": struct.pack("<6f", *range(6))}


def legacy(
    pickle: bytes, storages: dict[str, bytes] | None = None, itemsize: int = 4
) -> bytes:
    """As PyTorch wrote it before 1.6."""
    storages = FLOATS if storages is None else storages
    system = {"little_endian": True, "protocol_version": 1001}
    head = pickled(MAGIC) + pickled(1001) + pickled(system)
    tail = pickled(list(storages))
    for data in storages.values():
        tail += struct.pack("<q", len(data) // itemsize) + data
    return head + pickle + tail
