"""The table of what layers move on a GPU is that of the code."""

from __future__ import annotations

import mlx.core as mx
import pytest

from tests.layer_bytes import DTYPES, LAYERS, PAGE, least, moved, table, with_table


def test_the_page_has_the_table_of_the_code():
    page = PAGE.read_text()
    assert page == with_table(page, table()), "python -m tests.layer_bytes --write"


# Those that a kernel of Lucid's computes.
@pytest.mark.parametrize(
    "name",
    [name for name in LAYERS if "Norm" in name or "Pool" in name or "Up" in name],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_kernel_moves_at_most_twice_the_least(name, dtype):
    layer, dtype = LAYERS[name], DTYPES[dtype]
    pairs = zip(moved(layer, dtype, True), least(layer, dtype), strict=True)
    assert all(0.99 * must <= taken <= 2 * must for taken, must in pairs)


def test_other_tables_of_the_page_stay():
    page = "a\n\n| 1 |\n| - |\n\nb\n\n| 2 |\n"
    assert with_table(page, "| 3 |") == "a\n\n| 3 |\n\nb\n\n| 2 |\n"


def test_bytes_are_those_of_a_dtype():
    layer = LAYERS["`ReLU`"]
    assert moved(layer, mx.float32, True)[0] == 2 * moved(layer, mx.float16, True)[0]
