"""Lucid first: it loads a fast BLAS, which has to come before MLX.

The suite runs on the CPU, on a Mac too, so that it means the same everywhere;
`LUCID_TEST_DEVICE=gpu` runs it on the GPU.
"""

import os

import lucid  # noqa: F401
import mlx.core as mx

_DEVICES = {"cpu": mx.cpu, "gpu": mx.gpu}
mx.set_default_device(mx.Device(_DEVICES[os.environ.get("LUCID_TEST_DEVICE", "cpu")]))
