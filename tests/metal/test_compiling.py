"""What a pipeline says of itself when it is asked for too much."""

from __future__ import annotations

from lucid.metal import launch
from lucid.metal.compiling import most_threads
import pytest


@pytest.mark.parametrize("limit", [448, 896, 1024])
def test_the_limit_is_read_off_mlxs_error(limit):
    def run() -> list[object]:
        x, y, z = launch.threadgroup((64, 64, 64))
        if x * y * z > limit:
            raise ValueError(
                f"Thread group size ({x * y * z}) is greater than the maximum allowed "
                f"threads per threadgroup ({limit})."
            )
        return []

    assert most_threads(run) == limit
    assert launch.threadgroup((64, 64, 64)) == (64, 4, 1)  # as before


def test_another_error_is_not_taken_for_it():
    def run() -> list[object]:
        raise ValueError("something else (7)")

    with pytest.raises(ValueError, match="something else"):
        most_threads(run)
