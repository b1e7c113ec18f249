"""The convolutions of the benchmark, for `python -m lucid.metal --tune`.

The same as the table and the U-Net of `examples/benchmark_shapes.py`, which is not
installed with the package.
"""

from __future__ import annotations

from lucid.metal.check import Case

_DENSE = {"padding": 1}
_HALVE = {"stride": 2, "padding": 1}

BENCHMARK = {
    "four-channels": Case((2, 4, 16, 32, 32), (32, 4, 3, 3, 3), _DENSE),
    "one-channel": Case((1, 1, 32, 64, 64), (16, 1, 3, 3, 3), _DENSE),
    "dense": Case((2, 32, 16, 32, 32), (64, 32, 3, 3, 3), _DENSE),
    "strided": Case((1, 64, 16, 16, 16), (128, 64, 3, 3, 3), _HALVE),
    "dilated": Case(
        (1, 16, 16, 24, 24), (32, 16, 3, 3, 3), {"dilation": 2, "padding": 2}
    ),
    "pointwise": Case((2, 32, 16, 32, 32), (64, 32, 1, 1, 1), {}),
    "grouped": Case((1, 32, 16, 24, 24), (64, 8, 3, 3, 3), {"groups": 4, "padding": 1}),
    "depthwise": Case(
        (1, 32, 16, 32, 32), (32, 1, 3, 3, 3), {"groups": 32, "padding": 1}
    ),
    **{
        f"unet-{name}": Case((1, c, n, n, n), (o, c, k, k, k), options)
        for name, c, o, n, k, options in [
            ("in-64", 1, 16, 64, 3, _DENSE),
            ("down-64", 16, 16, 64, 3, _DENSE),
            ("halve-64", 16, 32, 64, 3, _HALVE),
            ("down-32", 32, 32, 32, 3, _DENSE),
            ("halve-32", 32, 64, 32, 3, _HALVE),
            ("down-16", 64, 64, 16, 3, _DENSE),
            ("halve-16", 64, 128, 16, 3, _HALVE),
            ("bottom-8", 128, 128, 8, 3, _DENSE),
            ("up-16", 128 + 64, 64, 16, 3, _DENSE),
            ("up-32", 64 + 32, 32, 32, 3, _DENSE),
            ("up-64", 32 + 16, 16, 64, 3, _DENSE),
            ("out-64", 16, 2, 64, 1, {}),
        ]
    },
}
