"""Faults of kernels whose threads do not meet."""

from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import pytest

from .errors import EmulationError
from .run import run
from .tiny_kernels import BARRIER, result, tiny_kernel

X = mx.arange(64, dtype=mx.float32)


def test_a_kernel_without_fault_gives_its_result():
    assert (result("y[i] = 2 * a[i];", X) == 2 * np.arange(64)).all()


def test_threads_run_kernels_at_once():
    body = (
        f"threadgroup float t[32]; t[i % 32] = a[i]; {BARRIER} y[i] = t[31 - i % 32];"
    )
    x = np.arange(64 * 200, dtype=np.float32)
    kernel = tiny_kernel(body, mx.array(x), grid=(x.size, 1, 1), shape=x.shape)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda s: run(kernel, [x + s])[0], range(12)))
    want = x.reshape(-1, 32)[:, ::-1].reshape(-1)
    assert [(y == want + s).all() for s, y in enumerate(done)] == [True] * 12


def test_an_output_that_is_not_written_is_reported():
    with pytest.raises(EmulationError, match="4 of 64 elements of `y` are never"):
        result("if (i < 60) y[i] = a[i];", X)


@pytest.mark.parametrize("dtype", [mx.uint8, mx.int32, mx.float16])
def test_writing_the_poison_itself_counts_as_writing(dtype):
    y = result("y[i] = i % 2 ? -1 : 127;", dtype=dtype)
    assert y[0] == 127


def test_a_write_past_the_end_is_reported():
    with pytest.raises(EmulationError, match="`y` is written to past its last"):
        result("y[i] = a[i]; y[i + 1] = a[i];", X, grid=(64, 1, 1))


def test_a_write_before_the_start_is_reported():
    with pytest.raises(EmulationError, match="`y` is written to before its first"):
        result("y[i] = a[i]; if (i == 0) y[i - 1] = a[i];", X)


def test_a_write_to_an_input_is_reported():
    with pytest.raises(EmulationError, match="`a` is written to though it is an input"):
        result("y[i] = a[i]; ((device float*)a)[i] = 3.0f;", X)


@pytest.mark.parametrize("index", ["i + 1", "i - 1"])
def test_a_read_outside_an_input_that_shows_is_reported(index):
    with pytest.raises(EmulationError, match="depends on memory outside a buffer"):
        result(f"y[i] = 0.0f * a[{index}];", X)


def test_copying_from_outside_an_input_is_not_taken_for_not_writing():
    with pytest.raises(EmulationError, match="depends on memory outside a buffer"):
        result("y[i] = a[i + 1];", X)


def test_a_read_far_away_does_not_end_the_process():
    with pytest.raises(EmulationError, match="unmapped memory"):
        result("y[i] = a[i - (1l << 45)];", X)


def test_a_division_by_zero_does_not_end_the_process():
    with pytest.raises(EmulationError, match="division by zero"):
        result("y[i] = 3 / (a_shape[0] - 64);", X)


def test_an_index_past_the_end_of_a_private_array_is_reported():
    with pytest.raises(EmulationError, match="index past the end of an array"):
        result("float v[4] = {0.0f}; v[i % 5] = a[i]; y[i] = v[0] + v[i % 5];", X)


def test_a_misaligned_vector_access_is_reported():
    source = "const auto v = (const device float4*)(a + 4 * i); y[i] = v->x + v->w;"
    with pytest.raises(EmulationError, match="misaligned access"):
        result(source, X, grid=(16, 1, 1), shape=(16,))


def test_a_race_between_threads_is_reported():
    with pytest.raises(EmulationError, match="depends on the order of threads"):
        result("y[0] = a[i];", X, shape=(1,))


def test_a_race_between_threadgroups_is_reported():
    with pytest.raises(EmulationError, match="depends on the order of threads"):
        result("y[i % 32] = a[i];", X, shape=(32,))


def test_relaxed_atomics_count():
    y = result(
        "auto p = (device atomic_int*)y; if (i == 0) y[0] = 0;"
        "atomic_fetch_add_explicit(p, int(a[i]), memory_order_relaxed);",
        mx.full((64,), 3.0),
        grid=(1, 1, 1),
        shape=(1,),
        dtype=mx.int32,
    )
    assert y.tolist() == [3]


@pytest.mark.parametrize("threadgroup", [(1025, 1, 1), (32, 32, 2)])
def test_a_threadgroup_that_metal_refuses_is_reported(threadgroup):
    with pytest.raises(EmulationError, match="Metal allows 1024"):
        result("y[i] = a[i];", X, threadgroup=threadgroup)


def test_an_empty_grid_is_reported():
    with pytest.raises(EmulationError, match="a grid of"):
        result("y[i] = a[i];", X, grid=(64, 0, 1))
