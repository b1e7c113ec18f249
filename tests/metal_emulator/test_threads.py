"""Barriers, SIMD-group functions and threadgroup memory."""

import mlx.core as mx
import numpy as np
import pytest

from .errors import EmulationError
from .tiny_kernels import BARRIER, result

X = mx.arange(64, dtype=mx.float32)
ONE_GROUP = {"threadgroup": (64, 1, 1)}
REVERSED = f"threadgroup float t[64]; t[i] = a[i]; {BARRIER} y[i] = t[63 - i];"
SUM = f"""
threadgroup float t[64];
t[i] = a[i];
{BARRIER}
for (int n = 32; n > 0; n /= 2) {{
  if (i < n) t[i] += t[i + n];
  {BARRIER}
}}
y[i] = t[0];
"""


def test_a_barrier_lets_threads_see_one_another():
    assert (result(REVERSED, X, **ONE_GROUP) == np.arange(64)[::-1]).all()
    assert (result(SUM, X, **ONE_GROUP) == np.arange(64).sum()).all()


def test_a_dropped_barrier_is_reported():
    with pytest.raises(EmulationError, match=r"uninitialized|order of threads"):
        result(REVERSED.replace(BARRIER, ""), X, **ONE_GROUP)


def test_a_barrier_dropped_from_a_loop_is_reported():
    dropped = SUM.replace(f"{BARRIER}\n}}", "}")
    assert dropped != SUM
    with pytest.raises(EmulationError, match="order of threads"):
        result(dropped, X, **ONE_GROUP)


@pytest.mark.parametrize(
    "source",
    [
        f"y[i] = a[i]; if (i < 32) {{ {BARRIER} }}",
        f"y[i] = a[i]; if (i < 32) return; {BARRIER}",
    ],
)
def test_a_barrier_that_not_all_threads_reach_is_reported(source):
    with pytest.raises(EmulationError, match="returned before a barrier"):
        result(source, X, **ONE_GROUP)


def test_waiting_at_two_barriers_at_once_is_reported():
    source = f"y[i] = a[i];\nif (i < 32) {{\n{BARRIER}\n}} else {{\n{BARRIER}\n}}"
    with pytest.raises(EmulationError, match=r"different barriers, line 8 and 10"):
        result(source, X, **ONE_GROUP)


def test_a_write_past_a_threadgroup_array_is_reported():
    with pytest.raises(EmulationError, match="past the end of a"):
        result(REVERSED.replace("t[64]", "t[63]"), X, **ONE_GROUP)
    through_a_pointer = REVERSED.replace(
        "t[i] =", "threadgroup float* p = t; p[i + 1] ="
    )
    with pytest.raises(EmulationError, match="past the end of a threadgroup array"):
        result(through_a_pointer, X, **ONE_GROUP)


def test_threadgroup_memory_is_limited():
    with pytest.raises(EmulationError, match="32 KiB"):
        result("threadgroup float t[8193]; t[i] = 0; y[i] = t[i];", X)


def test_threadgroup_memory_is_not_kept_from_group_to_group():
    source = f"threadgroup float t[1]; if (i == 0) t[0] = 1; {BARRIER} y[i] = t[0];"
    with pytest.raises(EmulationError, match="uninitialized"):
        result(source, X)


def test_simd_functions_combine_32_lanes():
    x = np.arange(80, dtype=np.float32)
    groups = [x[:32], x[32:64], x[64:]]

    def computed(expression: str) -> np.ndarray:
        sizes = {"grid": (80, 1, 1), "threadgroup": (80, 1, 1), "shape": (80,)}
        return result(f"y[i] = {expression};", mx.array(x), **sizes)

    def expected(of_group) -> np.ndarray:
        return np.concatenate([np.broadcast_to(of_group(g), g.shape) for g in groups])

    assert (computed("simd_sum(a[i])") == expected(np.sum)).all()
    assert (computed("simd_max(a[i])") == expected(np.max)).all()
    assert (computed("simd_min(a[i])") == expected(np.min)).all()
    assert (computed("simd_prefix_inclusive_sum(a[i])") == expected(np.cumsum)).all()
    assert (computed("simd_broadcast(a[i], 3)") == expected(lambda g: g[3])).all()
    neighbors = expected(lambda g: g[np.arange(len(g)) ^ 1])
    assert (computed("simd_shuffle_xor(a[i], 1)") == neighbors).all()


def test_a_simd_function_under_divergence_is_reported():
    with pytest.raises(EmulationError, match="not all threads reach"):
        result(f"y[i] = a[i]; if (i < 8) y[i] = simd_sum(a[i]); {BARRIER}", X)
