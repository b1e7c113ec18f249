"""What MLX hands over of a call."""

import mlx.core as mx
import pytest

from .capture import capture
from .errors import EmulationError
from .tiny_kernels import tiny_kernel


def test_the_generated_source_and_the_sizes_are_captured():
    kernel = tiny_kernel(
        "y[i] = a[i] * a_shape[0];",
        mx.ones(64),
        grid=(64, 2, 3),
        threadgroup=(8, 1, 1),
        shape=(4, 16),
        dtype=mx.float16,
    )
    assert "const device float* a [[buffer(0)]]" in kernel.source
    assert "y[i] = a[i] * a_shape[0];" in kernel.source
    assert (kernel.grid, kernel.threadgroup) == ((64, 2, 3), (8, 1, 1))
    assert kernel.shape_info == ((True, False, False),)
    assert (kernel.output_shapes, kernel.output_dtypes) == (((4, 16),), ("float16",))


def test_inputs_are_not_evaluated():
    impossible = mx.zeros((2**20, 2**20, 2**20))
    kernel = tiny_kernel("y[i] = a[i];", impossible)
    assert kernel.output_shapes == ((64,),)


def test_a_call_that_does_more_than_launch_one_kernel_is_refused():
    with pytest.raises(EmulationError, match="Exp"):
        capture(mx.exp, [mx.ones(3)])
