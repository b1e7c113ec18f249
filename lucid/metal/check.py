"""Comparing the kernels with their twins, and the paths of a GPU with the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import functools
from typing import Any, NamedTuple

from lucid import _device, choice
from lucid.geometry import PADDING_MODES, ConvGeometry, check_padding, conv_geometry
from lucid.metal import padding
from lucid.metal.conv import (
    TWIN,
    forward_kernel,
    input_gradient_kernel,
    weight_gradient_kernel,
)
from lucid.metal.guard import distance
from lucid.ops import conv
from lucid.ops.conv import Formulation
from lucid.ops.conv_plain import COLUMNS
import mlx.core as mx
import numpy as np

# Of the largest value: a float32 sum in another order, a half type rounded once more.
TOLERANCES = {mx.float32: 2e-5, mx.float16: 2e-3, mx.bfloat16: 1.6e-2}
# Where a GPU has units for it, MLX multiplies float32 matrices with 10 bits of fraction
# (unless MLX_ENABLE_TF32=0), as the kernels never do.
PATH_TOLERANCES = {**TOLERANCES, mx.float32: 2e-3}


class Case(NamedTuple):
    """A convolution: (N, C, D, H, W), (O, C / groups, KD, KH, KW), options."""

    input: tuple[int, ...]
    weight: tuple[int, ...]
    options: dict[str, Any]

    @property
    def geometry(self) -> ConvGeometry:
        def three(name: str, default: int) -> Any:
            value = self.options.get(name, default)
            return (value,) * 3 if isinstance(value, int) else value

        stride = three("stride", 1)
        return conv_geometry(
            self.input,
            self.weight,
            stride,
            check_padding(three("padding", 0), stride),
            three("dilation", 1),
            self.options.get("groups", 1),
            self.options.get("padding_mode", "zeros"),
        )


# Every branch of the kernels: four channels at a time or one, on either side; strips
# that are shared or too long to be; copies along every axis; uneven ends; tiny arrays.
KERNEL_CASES = {
    **{
        f"depthwise, {mode}": Case(
            (2, 8, 5, 6, 7),
            (8, 1, 3, 3, 3),
            {"padding": 1, "groups": 8, "padding_mode": mode},
        )
        for mode in PADDING_MODES
    },
    "depthwise, 6 channels": Case((1, 6, 4, 5, 9), (6, 1, 3, 3, 3), {"groups": 6}),
    "depthwise, stride 2": Case(
        (1, 8, 6, 7, 9), (8, 1, 3, 3, 3), {"stride": 2, "padding": 1, "groups": 8}
    ),
    "4 -> 8 a group": Case((2, 8, 4, 5, 6), (16, 4, 3, 3, 3), {"groups": 2}),
    "2 -> 2 a group": Case((2, 6, 4, 5, 9), (6, 2, 3, 3, 3), {"groups": 3}),
    "3 -> 5 a group, dilated": Case(
        (1, 6, 7, 6, 9),
        (10, 3, 3, 2, 3),
        {"groups": 2, "dilation": (1, 3, 2), "padding": 2, "padding_mode": "reflect"},
    ),
    "1 -> 4 a group": Case((1, 3, 4, 4, 5), (12, 1, 2, 3, 2), {"groups": 3}),
    "8 -> 3 a group": Case(
        (1, 16, 4, 4, 6), (6, 8, 3, 3, 3), {"groups": 2, "padding": 1}
    ),
    "first layer": Case((1, 1, 6, 7, 9), (16, 1, 3, 3, 3), {"padding": 1}),
    "video stem": Case(
        (1, 3, 4, 12, 13),
        (8, 3, 3, 7, 7),
        {"stride": (1, 2, 2), "padding": (1, 3, 3), "padding_mode": "replicate"},
    ),
    "long kernel": Case(
        (1, 4, 3, 4, 30),
        (4, 1, 1, 2, 9),
        {"groups": 4, "dilation": (1, 1, 3), "padding": 2, "padding_mode": "circular"},
    ),
    "stride 5": Case((1, 4, 5, 6, 23), (8, 2, 2, 3, 4), {"groups": 2, "stride": 5}),
    "tiny": Case((1, 2, 1, 1, 2), (2, 1, 1, 1, 1), {"groups": 2}),
}

# For each formulation, compared with the CPU, gradients included.
PATH_CASES = {
    "kernels": KERNEL_CASES["depthwise, reflect"],
    "matmul": Case((2, 5, 3, 4, 5), (7, 5, 1, 1, 1), {"stride": 2}),
    "dense, padded by kernel": Case(
        (2, 16, 4, 5, 6), (16, 16, 3, 3, 3), {"padding": 1, "padding_mode": "circular"}
    ),
    "dense, stride 2": Case(
        (2, 16, 5, 6, 7), (32, 16, 3, 3, 3), {"stride": 2, "padding": 1}
    ),
    "dense, dilated": Case(
        (1, 32, 6, 6, 6), (16, 32, 3, 3, 3), {"dilation": 2, "padding": 2}
    ),
    "dense, 20 -> 24 channels": Case(
        (2, 20, 4, 5, 6), (24, 20, 2, 3, 3), {"padding": "same"}
    ),
    "dense, one volume": Case((1, 32, 3, 32, 32), (224, 32, 2, 3, 3), {"padding": 1}),
    "by group": Case((1, 32, 4, 5, 6), (32, 16, 3, 3, 3), {"groups": 2, "padding": 1}),
}


class Pair(NamedTuple):
    """A kernel and its twin, which take the same arrays and a geometry."""

    kernel: Callable[..., mx.array]
    twin: Callable[..., mx.array]
    arrays: tuple[str, ...]  # keys of `arrays_of`


# The kernels themselves: their guards would put the twin in the place of a wrong one.
CONVOLUTIONS = {
    "forward": Pair(forward_kernel.kernel, TWIN.forward, ("x", "w", "b")),
    "input gradient": Pair(
        input_gradient_kernel.kernel, TWIN.input_gradient, ("dy", "w")
    ),
    "weight gradient": Pair(
        weight_gradient_kernel.kernel, TWIN.weight_gradient, ("x", "dy")
    ),
}
PADS = {
    "pad": Pair(padding.pad_kernel.kernel, padding.pad_ops, ("x",)),
    "pad adjoint": Pair(
        padding.pad_adjoint_kernel.kernel, padding.pad_adjoint_ops, ("padded",)
    ),
}


def arrays_of(case: Case, dtype: mx.Dtype) -> dict[str, mx.array]:
    """Channels-last arrays, the weight and the bias of a case."""
    g = case.geometry
    shapes = {
        "x": (g.batch, *g.input_size, g.in_channels),
        "padded": (g.batch, *g.padded_size, g.in_channels),
        "dy": (g.batch, *g.output_size, g.out_channels),
        "w": case.weight,
        "b": case.weight[:1],
    }
    return {name: _draw(shape, dtype) for name, shape in shapes.items()}


def _draw(shape: Sequence[int], dtype: mx.Dtype) -> mx.array:
    """In [0.5, 1.5]: no sum of products cancels."""
    random = np.random.default_rng(0).uniform(0.5, 1.5, shape)
    return mx.array(random.astype(np.float32)).astype(dtype)


Compared = list[tuple[mx.array, mx.array]]


class Comparison(NamedTuple):
    """What is compared: of a dtype, what was computed and what it should be."""

    what: str
    case: str
    compute: Callable[[mx.Dtype], Compared]
    tolerances: dict[mx.Dtype, float] = TOLERANCES


class Row(NamedTuple):
    """What was compared, its error in each dtype, and whether all are small enough."""

    what: str
    case: str
    errors: list[str]
    agrees: bool


def comparisons(cases: dict[str, Case]) -> Iterator[Comparison]:
    """Every kernel against its twin."""
    for name, case in cases.items():
        g = case.geometry
        sides = (g.padding, g.padding_mode)
        for what, pair in CONVOLUTIONS.items():
            compute = functools.partial(_pair, pair, case, g)
            yield Comparison(what, name, compute)
        for what, pair in PADS.items() if g.padding_mode != "zeros" else ():
            yield Comparison(what, name, functools.partial(_pair, pair, case, *sides))


def kernel_rows(cases: dict[str, Case]) -> Iterator[Row]:
    """Every kernel against its twin."""
    return map(row, comparisons(cases))


def path_rows(cases: dict[str, Case]) -> Iterator[Row]:
    """Convolutions and their gradients on the GPU, against the CPU in float32.

    By every formulation that could be chosen for a pass.
    """
    for name, case in cases.items():
        for formulation in choice.candidates(case.geometry):
            compute = functools.partial(_both_devices, case, formulation)
            yield row(Comparison(formulation.name, name, compute, PATH_TOLERANCES))


def row(comparison: Comparison) -> Row:
    """What came of a comparison."""
    errors, agrees = [], True
    for dtype, tolerance in comparison.tolerances.items():
        try:
            pairs = comparison.compute(dtype)
            # Not Python's, which may drop a NaN.
            error = np.max([distance(got, want) for got, want in pairs])
            errors.append(f"{error:.1e}")
            agrees &= bool(error <= tolerance)  # a NaN is not
        except Exception as problem:  # noqa: BLE001  what Metal's compiler says
            errors.append(f"{type(problem).__name__}: {problem}")
            agrees = False
    return Row(comparison.what, comparison.case, errors, agrees)


def _pair(pair: Pair, case: Case, *options_and_dtype: Any) -> Compared:
    *options, dtype = options_and_dtype
    arrays = arrays_of(case, dtype)
    chosen = [arrays[name] for name in pair.arrays]
    with _device.running_on("cpu"):  # see PATH_TOLERANCES
        want = pair.twin(*chosen, *options)
    return [(pair.kernel(*chosen, *options), want)]


def _both_devices(case: Case, formulation: Formulation, dtype: mx.Dtype) -> Compared:
    g = case.geometry
    x, w, b = (_draw(s, dtype) for s in (case.input, case.weight, case.weight[:1]))
    dy = _draw(g.output_shape, dtype)

    def run(device: str, conv3d: Callable[..., mx.array], dtype: mx.Dtype) -> list:
        arrays = [array.astype(dtype) for array in (x, w, b)]
        with _device.running_on(device):
            y, gradients = mx.vjp(
                lambda *a: [conv3d(*a, g)], arrays, [dy.astype(dtype)]
            )
            mx.eval(y, gradients)
        return [*y, *gradients]

    got = run("gpu", functools.partial(choice.conv3d_by, formulation), dtype)
    want = run("cpu", functools.partial(conv.conv3d, COLUMNS), mx.float32)
    return list(zip(got, want, strict=True))
