"""Small changes to a file, from a seed."""

from __future__ import annotations

from random import Random
import struct

NUMBERS = (0, 1, 2, 7, 8, 255, 256, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62)
NUMBERS += (2**63, 2**64 - 1)


def changed(data: bytes, rng: Random) -> bytes:
    """`data` with one to three changes."""
    for _ in range(rng.randint(1, 3)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 8, 40))
        part = data[at : at + length]
        new = rng.choice(
            (
                b"",
                rng.randbytes(len(part)),
                bytes(len(part)),
                b"\xff" * len(part),
                part + part,
                struct.pack("<Q", rng.choice(NUMBERS))[: len(part)],
                bytes((byte ^ (1 << rng.randrange(8))) for byte in part),
                data[(other := rng.randrange(len(data) + 1)) : other + length],
            )
        )
        data = data[:at] + new + data[at + length :]
        if rng.random() < 0.05:
            data = data[: rng.randrange(len(data) + 1)]
    return data
