"""Metal's own syntax, turned into that of C++."""

import mlx.core as mx
import pytest

from .errors import KernelRefusedError
from .tiny_kernels import result
from .translate import uses_fibers


@pytest.mark.parametrize(
    "declaration",
    [
        "threadgroup float shared[32];",
        "threadgroup float shared[N * 16];",
        "threadgroup T shared[32];",
        "threadgroup vec<T, 4> shared4[8]; threadgroup T* shared = (threadgroup T*)"
        "shared4;",
        "threadgroup float shared2[4][8]; threadgroup float* shared = shared2[0];",
    ],
)
def test_threadgroup_arrays_are_shared(declaration):
    y = result(
        f"{declaration} const int t = int(thread_position_in_threadgroup.x);"
        "shared[t] = a[i]; threadgroup_barrier(mem_flags::mem_threadgroup);"
        "y[i] = shared[31 - t];",
        mx.arange(64, dtype=mx.float32),
        template=[("T", mx.float32), ("N", 2)],
    )
    assert y.tolist() == [*range(31, -1, -1), *range(63, 31, -1)]


@pytest.mark.parametrize(
    "declaration",
    ["threadgroup float p[4], q[4];", "threadgroup float p = 0.0f;"],
)
def test_a_threadgroup_variable_that_would_become_private_is_refused(declaration):
    with pytest.raises(KernelRefusedError, match="declare each threadgroup array"):
        result(f"{declaration} y[i] = a[i];", mx.ones(64))


def test_fibers_are_for_kernels_whose_threads_wait():
    assert uses_fibers("threadgroup_barrier(mem_flags::mem_none);")
    assert uses_fibers("y[0] = simd_sum(x[0]);")
    assert not uses_fibers("// no threadgroup_barrier(mem_flags::mem_none)\ny[0] = 1;")


def test_positions_cover_a_ragged_grid():
    y = result(
        """
        const uint3 p = thread_position_in_grid, g = threads_per_grid;
        const uint3 l = thread_position_in_threadgroup, s = threads_per_threadgroup;
        const uint3 q = threadgroup_position_in_grid;
        const uint3 d = dispatch_threads_per_threadgroup;
        const bool edge = s.x < d.x || s.y < d.y || s.z < d.z;
        const bool same = q.x * d.x + l.x == p.x && q.y * d.y + l.y == p.y &&
            q.z * d.z + l.z == p.z &&
            thread_index_in_threadgroup == (l.z * s.y + l.y) * s.x + l.x;
        y[(p.z * g.y + p.y) * g.x + p.x] = same ? (edge ? 2 : 1) : 0;
        """,
        grid=(7, 5, 3),
        threadgroup=(4, 2, 2),
        shape=(3, 5, 7),
        dtype=mx.int32,
    )
    full = y == 1
    assert (y > 0).all()
    assert full[:2, :4, :4].all()
    assert full.sum() == 2 * 4 * 4
