"""Measuring the formulations of a convolution, and taking the fastest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import functools
import math
from typing import NamedTuple

from lucid import _device
from lucid._types import dtype_name, physical_memory
from lucid.geometry import ConvGeometry
from lucid.layout import channels_first, channels_last
from lucid.ops import conv
from lucid.ops.conv import Formulation
from lucid.ops.conv_mixed import mixed
from lucid.ops.conv_plain import COLUMNS, MLX_PLAIN
from lucid.tuning import store, timing
from lucid.tuning.timing import Run, Times
import mlx.core as mx

PASSES = FORWARD, INPUT, WEIGHT = ("forward", "input gradient", "weight gradient")
STEP = "step"  # a forward and all gradients

Trio = tuple[Formulation, Formulation, Formulation]
"""The formulations of the passes."""

Call = Callable[[Formulation, mx.array, mx.array, mx.array], mx.array]
"""A convolution of x, weight and bias by a formulation."""


# Where columns take more bytes, what makes them is not measured.
MOST_COLUMNS = 2**30
# What part of the rule's time is worth leaving it for.
ENOUGH = 0.95


class Problem(NamedTuple):
    """A geometry, the dtype of its arrays, and what may compute each pass.

    `candidates` are by pass; what the rules choose comes first.
    """

    geometry: ConvGeometry
    dtype: mx.Dtype
    candidates: dict[str, list[Formulation]]

    @property
    def rule(self) -> Trio:
        forward, input_gradient, weight_gradient = (
            self.candidates[what][0] for what in PASSES
        )
        return forward, input_gradient, weight_gradient


def can_draw(geometry: ConvGeometry) -> bool:
    """Whether arrays of its size beside the user's leave most of the memory free."""
    volumes = math.prod(geometry.input_shape) + math.prod(geometry.output_shape)
    return geometry.batch > 0 and 4 * volumes <= physical_memory() // 16


def fastest(
    geometry: ConvGeometry,
    dtype: mx.Dtype,
    rule: Sequence[Formulation],
    candidates: Sequence[Formulation],
    call: Call | None,
) -> list[tuple[Formulation, str]]:
    """The fastest formulation of each pass on the default device, and its times.

    Args:
        geometry: of the convolution.
        dtype: of its arrays.
        rule: what computes the passes where nothing is measured.
        candidates: what else can.
        call: the convolution as it is called; None for a transposed one.
    """
    by_pass = {
        what: list(
            dict.fromkeys(
                [first, *(c for c in candidates if _may_win(c, what, geometry))]
            )
        )
        for what, first in zip(PASSES, rule, strict=True)
    }
    problem = Problem(geometry, dtype, by_pass)
    trio = _fastest_passes(problem) if call is None else _fastest_step(problem, call)
    return [
        (one, _reason(what, one, problem))
        for what, one in zip(PASSES, trio, strict=True)
    ]


def _may_win(formulation: Formulation, what: str, geometry: ConvGeometry) -> bool:
    """False of what is hopeless on a CPU.

    It would hold far more than the arrays, or MLX computes it in naive loops: dilated
    convolutions, and the input gradients of strided ones.
    """
    if _device.on_gpu() or formulation not in (COLUMNS, MLX_PLAIN):
        return True
    taps, outputs = math.prod(geometry.kernel_size), math.prod(geometry.output_size)
    columns = 4 * geometry.batch * geometry.in_channels * taps * outputs
    naive = formulation is MLX_PLAIN and (
        max(geometry.dilation) > 1 or (what == INPUT and max(geometry.stride) > 1)
    )
    return columns <= MOST_COLUMNS and not naive


def _fastest_passes(problem: Problem) -> Trio:
    """The fastest formulation of each pass, measured one by one."""
    forward, input_gradient, weight_gradient = (
        _fastest(problem.candidates[what], _times_of_pass(what, problem))
        for what in PASSES
    )
    return forward, input_gradient, weight_gradient


def _fastest_step(problem: Problem, call: Call) -> Trio:
    """The fastest of what is nowhere slower than the rule.

    A step of one formulation may take less time than its passes one by one: MLX's
    derivatives share arrays with a plain forward, and some formulations fold a padding
    mode into their reads. So the rule, the mix of the fastest passes, and such
    formulations are compared by whole steps too.
    """
    mix = _fastest_passes(problem)
    folds = problem.geometry.padding_mode != "zeros"
    whole = [
        (one, one, one)
        for one in problem.candidates[INPUT]
        if one.plain or (folds and one.every_mode)
    ]
    trios = {mixed(*trio).name: trio for trio in (problem.rule, mix, *whole)}
    if len(trios) == 1:
        return problem.rule
    steps = _times_of_step(trios, problem, call)
    return _never_slower(trios, _times_of_pass(FORWARD, problem), steps)


def _reason(what: str, chosen: Formulation, problem: Problem) -> str:
    """Why a formulation computes a pass, in milliseconds."""
    times = _times_of_pass(what, problem)
    taken = times.pop(chosen.name)
    if not times:
        return "nothing else computes it here"
    others = [
        f"{name} {'cannot' if ms is None else f'{ms:.3g} ms'}"
        for name, ms in sorted(times.items(), key=lambda item: _or_never(item[1]))
    ]
    first = "" if taken is None else f": {taken:.3g} ms"
    return "; ".join([f"measured here{first}", *others])


def _times_of_pass(what: str, problem: Problem) -> Times:
    """Milliseconds of one pass by each candidate, of an input that is padded by now."""
    geometry, candidates = problem.geometry, problem.candidates[what]
    if len(candidates) == 1:
        return {candidates[0].name: None}
    if geometry.padding_mode != "zeros":
        geometry = geometry.without_padding
    runs = {
        one.name: functools.partial(_RUNS[what], one, geometry) for one in candidates
    }
    return _times(what, runs, geometry, problem.dtype)


def _times_of_step(trios: Mapping[str, Trio], problem: Problem, call: Call) -> Times:
    """Milliseconds of a convolution with all of its gradients."""

    def run(formulation: Formulation, *arrays: mx.array) -> list[mx.array]:
        *primals, dy = arrays
        outputs, gradients = mx.vjp(
            lambda *primals: [call(formulation, *primals)], primals, [dy]
        )
        return [*outputs, *gradients]

    runs = {name: functools.partial(run, mixed(*trio)) for name, trio in trios.items()}
    return _times(STEP, runs, problem.geometry, problem.dtype)


def _times(
    what: str, runs: Mapping[str, Run], geometry: ConvGeometry, dtype: mx.Dtype
) -> Times:
    """What the store knows, or is told now."""
    key = _key(geometry, dtype)
    with store.lock:
        times = store.look_up(key, what)
        if not runs.keys() <= times.keys():
            times = timing.race(runs, _draw(what, geometry, dtype))
            store.keep(key, what, times)
    return {name: times[name] for name in runs}


def _key(geometry: ConvGeometry, dtype: mx.Dtype) -> str:
    """A problem in words, as the file has it."""

    def by(sizes: Sequence[object]) -> str:
        return "x".join(map(str, sizes))

    g = geometry
    device = "gpu" if _device.on_gpu() else "cpu"
    padding = by([f"{before}+{after}" for before, after in g.padding])
    return (
        f"{device} {dtype_name(dtype)} {by(g.input_shape)} -> {by(g.output_shape)} "
        f"kernel {by(g.kernel_size)} stride {by(g.stride)} padding {padding} "
        f"{g.padding_mode} dilation {by(g.dilation)} groups {g.groups}"
    )


def _draw(what: str, geometry: ConvGeometry, dtype: mx.Dtype) -> list[mx.array]:
    """The arrays that a pass takes, drawn with keys of their own.

    On a GPU volumes are channels-last in memory, as convolutions leave them.
    """

    def volume(shape: Sequence[int], key: int) -> mx.array:
        if not _device.on_gpu():
            return mx.random.normal(shape, dtype, key=mx.random.key(key))
        n, c, *size = shape
        drawn = mx.random.normal((n, *size, c), dtype, key=mx.random.key(key))
        return channels_first(drawn)

    weight = mx.random.normal(geometry.weight_shape, dtype, key=mx.random.key(2))
    if what == FORWARD:
        bias = mx.zeros(geometry.out_channels, dtype)
        return [volume(geometry.input_shape, 0), weight, bias]
    dy = volume(geometry.output_shape, 1)
    if what == INPUT:
        return [dy, weight]
    if what == WEIGHT:
        return [volume(geometry.input_shape, 0), dy]
    return [*_draw(FORWARD, geometry, dtype), dy]


def _forward(
    formulation: Formulation,
    geometry: ConvGeometry,
    x: mx.array,
    weight: mx.array,
    bias: mx.array,
) -> list[mx.array]:
    return [conv.conv3d(formulation, x, weight, bias, geometry)]


def _input_gradient(
    formulation: Formulation, geometry: ConvGeometry, dy: mx.array, weight: mx.array
) -> list[mx.array]:
    return [conv.conv_transpose3d(formulation, dy, weight, None, geometry)]


def _weight_gradient(
    formulation: Formulation, geometry: ConvGeometry, x: mx.array, dy: mx.array
) -> list[mx.array]:
    dtype = x.dtype
    x, dy, _ = conv.widened(formulation, x, dy, None)
    if formulation.channels_last:
        x, dy = channels_last(x), channels_last(dy)
    return [formulation.weight_gradient(x, dy, geometry).astype(dtype)]


_RUNS = {FORWARD: _forward, INPUT: _input_gradient, WEIGHT: _weight_gradient}


def _fastest(candidates: Sequence[Formulation], times: Times) -> Formulation:
    """The first of several that are alike, or if none has a time."""
    return min(candidates, key=lambda one: _or_never(times[one.name]))


def _never_slower(trios: Mapping[str, Trio], forwards: Times, steps: Times) -> Trio:
    """The best in both together, of those that are no worse than the first in each.

    The first, unless another wins by enough: less may be the machine's unrest.
    """

    def both(name: str) -> list[float]:
        return [_or_never(forwards[trios[name][0].name]), _or_never(steps[name])]

    first = both(next(iter(trios)))
    if not all(0 < time < math.inf for time in first):  # whatever computes it at all
        return trios[min(trios, key=lambda name: both(name)[1])]

    def parts(name: str) -> list[float]:
        return [time / of for time, of in zip(both(name), first, strict=True)]

    allowed = [name for name in trios if max(parts(name)) <= 1]
    best = min(allowed, key=lambda name: sum(parts(name)))
    wins = sum(parts(best)) <= 2 * ENOUGH
    return trios[best if wins else next(iter(trios))]


def _or_never(milliseconds: float | None) -> float:
    return math.inf if milliseconds is None else milliseconds
