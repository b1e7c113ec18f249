"""Hostile checkpoints from a seed: sound ones that were changed, and opcode soups."""

from __future__ import annotations

from collections.abc import Callable
import functools
import io
from random import Random
from typing import Any
import zipfile

from tests.files.fuzz_changes import NUMBERS, changed
from tests.files.pytorch import CHECKPOINTS
from tests.files.pytorch.assemble import (
    START,
    STOP,
    build,
    call,
    legacy,
    name,
    new,
    pickled,
    storage,
    tensor,
    value,
    zipped,
)
from tests.files.pytorch.payloads import PAYLOADS

NAMES = (
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_tensor_v3"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch.storage", "_load_from_bytes"),
    ("torch", "FloatStorage"),
    ("torch", "BFloat16Storage"),
    ("torch.storage", "UntypedStorage"),
    ("torch", "float32"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch", "Tensor"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("__builtin__", "set"),
    ("__builtin__", "complex"),
    ("__builtin__", "bytearray"),
    ("builtins", "list"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("trainer", "Settings"),
    ("os", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("subprocess", "Popen"),
)
# Opcodes that take what is on the stack, most of them known.
OPCODES = b"(tReusab.QNRR0\x81\x85\x86\x87\x90\x91\x92\x93\x94\x8f)]}oPi"
STRINGS = ("storage", "0", "1", "cpu", "latin1", "w", "f8", "i4", "<", "touch x", "é")


@functools.cache
def sound() -> tuple[bytes, ...]:
    """The archives in tests/data, of every format."""
    paths = sorted(CHECKPOINTS.iterdir())
    return tuple(path.read_bytes() for path in paths if path.suffix != ".py")


def pytorch(rng: Random) -> bytes:
    kinds: tuple[Callable[[Random], bytes], ...] = (
        lambda rng: changed(rng.choice(sound()), rng),
        changed_inside,
        changed_inside,
        soup,
        soup,
        structured,
        structured,
        payload,
    )
    return rng.choice(kinds)(rng)


def changed_inside(rng: Random) -> bytes:
    """An archive whose checksums are right, of entries that were changed."""
    data = rng.choice(sound())
    if not data.startswith(b"PK"):
        return changed(data, rng)
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(target, "w") as archive,
    ):
        for entry in source.namelist():
            content = source.read(entry)
            if entry.endswith(".pkl") or rng.random() < 0.05:
                content = changed(content, rng)
            if rng.random() > 0.02:
                archive.writestr(entry, content)
    return target.getvalue()


def in_a_file(pickle: bytes, rng: Random) -> bytes:
    storages = {"0": rng.randbytes(24), "1": rng.randbytes(rng.choice((0, 2, 16)))}
    if rng.random() < 0.5:
        return zipped(pickle, storages)
    return legacy(pickle, {"0": storages["0"]} if rng.random() < 0.7 else {})


def payload(rng: Random) -> bytes:
    """Something that runs elsewhere, with other opcodes around it."""
    inner = rng.choice(list(PAYLOADS.values()))
    if rng.random() < 0.5 and inner.startswith(START):
        around = opcodes(rng, rng.randint(0, 10)), opcodes(rng, rng.randint(0, 10))
        inner = START + around[0] + inner[2:-1] + around[1] + STOP
    return in_a_file(changed(inner, rng) if rng.random() < 0.3 else inner, rng)


def soup(rng: Random) -> bytes:
    return in_a_file(START + opcodes(rng, rng.randint(1, 60)) + STOP, rng)


def opcodes(rng: Random, count: int) -> bytes:
    """Opcodes in no order, most of whose arguments make sense."""
    return b"".join(_opcode(rng) for _ in range(count))


def _opcode(rng: Random) -> bytes:
    kind = rng.randrange(8)
    if kind == 0:
        return name(*rng.choice(NAMES))
    if kind == 1:
        return value(rng.choice(STRINGS))
    if kind == 2:
        return value(rng.choice((0, 1, 2, 3, -1, *NUMBERS)))
    if kind == 3:
        return rng.choice((b"q", b"h")) + bytes([rng.randrange(4)])
    if kind == 4:
        return rng.choice((tensor(), storage(), b"}q\x00", b"]q\x01", b"(NNt"))
    if kind == 5:
        return bytes([rng.randrange(256)])
    return bytes([rng.choice(OPCODES)])


def structured(rng: Random) -> bytes:
    """Well-formed values near those that checkpoints hold, some of them odd."""
    return in_a_file(pickled({"w": odd(rng, 4), "x": odd(rng, 3)}), rng)


def odd(rng: Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.2:
        leaf = rng.choice((None, True, 1.5, b"C\x03abc", *STRINGS, *NUMBERS, -1))
        return leaf
    kind = rng.choice((0, 1, 2, 3, 3, 3, rng.randrange(4, 9)))
    if kind == 0:
        return [odd(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    if kind == 1:
        return tuple(odd(rng, depth - 1) for _ in range(rng.randint(0, 3)))
    if kind == 2:
        return {rng.choice(STRINGS): odd(rng, depth - 1) for _ in range(2)}
    if kind == 3:
        return tensor(*rng.choice((((2, 3), (3, 1), 0), ((), (), 5), ((2,), (3,), 1))))
    if kind == 4:
        return odd_tensor(rng)
    if kind == 5:
        return build(value(odd(rng, depth - 1)), odd(rng, depth - 1))
    function = name(*rng.choice(NAMES))
    if kind == 6:
        return new(function, *(odd(rng, depth - 1) for _ in range(rng.randint(0, 2))))
    if kind == 7:
        return function
    return call(function, *(odd(rng, depth - 1) for _ in range(rng.randint(0, 4))))


def odd_tensor(rng: Random) -> bytes:
    """A tensor that may lie outside of its storage."""

    def sizes(count: int, most: int) -> tuple[Any, ...]:
        small = (rng.randint(0, most) for _ in range(count))
        return tuple(rng.choice(NUMBERS) if rng.random() < 0.05 else n for n in small)

    axes = rng.choice((0, 1, 1, 2, 2, 3, 64, 65))
    kind = rng.choice(("Float", "Float", "Double", "BFloat16", "Bool", "ComplexDouble"))
    of = storage(rng.choice((6, 6, 6, 3, 12, 24, *NUMBERS)), f"{kind}Storage")
    more = {"conj": rng.random() < 0.5, "neg": rng.random() < 0.5}
    return tensor(
        sizes(axes, 3 if axes < 10 else 1),
        sizes(axes if rng.random() < 0.95 else axes + 1, 3),
        rng.choice((0, 0, 0, 1, 5, 6, -1, *NUMBERS)),
        of if rng.random() < 0.95 else value(odd(rng, 1)),
        *((more,) if rng.random() < 0.1 else ()),
    )
