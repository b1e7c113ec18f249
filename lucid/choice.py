"""Which formulation computes a convolution, and why: by device, then by geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import functools
import math
from typing import NamedTuple

from lucid import _device, tuning
from lucid._types import FLOAT_DTYPES
from lucid.geometry import ConvGeometry
from lucid.layout import in_memory_order
from lucid.metal import estimates
from lucid.metal import padding as metal_padding
from lucid.metal.conv import METAL
from lucid.ops import conv, padding
from lucid.ops.conv import Formulation
from lucid.ops.conv_grid import GRID, grid_waste
from lucid.ops.conv_mixed import mixed
from lucid.ops.conv_mlx import MLX, MLX_BY_GROUP
from lucid.ops.conv_patches import PATCHES, PATCHES_CHANNELS_LAST
from lucid.ops.conv_plain import COLUMNS, MLX_PLAIN
from lucid.ops.conv_winograd import WINOGRAD, wasted_planes
from lucid.tuning import convolution as measuring
from lucid.tuning import store
import mlx.core as mx

# Of the input, beside its taps: below SMALL the number of operations is what costs on a
# CPU, from LARGE on it pays to transform what is multiplied. COLUMNS are worth their
# copies while they stay in cache; where a stride leaves most voxels out, the grid soon
# wins. Measured with MKL.
SMALL, LARGE = 2**15, 10**5
SMALL_COLUMNS, STRIDED_COLUMNS, COLUMNS_IN_CACHE = 2 * 2**20, 6 * 2**20, 32 * 2**20


class Pick(NamedTuple):
    """What computes one pass, and why."""

    formulation: Formulation
    reason: str


@dataclass(frozen=True)
class Choice:
    """What computes each pass of a convolution, and why."""

    forward: Pick
    input_gradient: Pick
    weight_gradient: Pick

    @classmethod
    def of(cls, formulation: Formulation, reason: str) -> Choice:
        """One formulation for all three."""
        return cls(*[Pick(formulation, reason)] * 3)

    @property
    def passes(self) -> dict[str, Pick]:
        """The three by their names in words, in order."""
        return {
            "forward": self.forward,
            "input gradient": self.input_gradient,
            "weight gradient": self.weight_gradient,
        }

    @functools.cached_property
    def formulation(self) -> Formulation:
        """The three as one."""
        return mixed(*(pick.formulation for pick in self.passes.values()))


def conv3d(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """(N, C, D, H, W) -> (N, O, OD, OH, OW)."""
    formulation = choose(geometry, x.dtype).formulation
    return conv3d_by(formulation, x, weight, bias, geometry)


def conv3d_by(
    formulation: Formulation,
    x: mx.array,
    weight: mx.array,
    bias: mx.array | None,
    geometry: ConvGeometry,
) -> mx.array:
    """The same, by a formulation that was chosen already."""
    dtype = x.dtype
    if geometry.padding_mode != "zeros" and not formulation.every_mode:
        # Widened first: the gradient adds up where padding repeats voxels.
        x, weight, bias = conv.widened(formulation, x, weight, bias)
        x = pad(x, geometry.padding, geometry.padding_mode)
        geometry = geometry.without_padding
    return conv.conv3d(formulation, x, weight, bias, geometry).astype(dtype)


def conv_transpose3d(
    x: mx.array, weight: mx.array, bias: mx.array | None, geometry: ConvGeometry
) -> mx.array:
    """The input gradient of a convolution: (N, O, OD, OH, OW) -> (N, C, D, H, W).

    Args:
        x: the input, `geometry.output_shape`.
        weight: (O, C / groups, KD, KH, KW), as PyTorch's ConvTranspose3d has it.
        bias: (C,) or None.
        geometry: of the convolution from C to O channels, padded with zeros.
    """
    formulation = choose(geometry, x.dtype, transposed=True).formulation
    plain = _device.is_plain()
    return conv.conv_transpose3d(formulation, x, weight, bias, geometry, plain)


def pad(
    x: mx.array,
    sides: Sequence[tuple[int, int]],
    mode: str,
    value: mx.array | float = 0.0,
) -> mx.array:
    """Pad the last `len(sides)` axes of `x` by (before, after) voxels each."""
    by_metal = (
        _device.on_gpu()
        and mode != "zeros"
        and any(map(any, sides))
        and len(sides) <= 3
        and x.size > 0
        and x.dtype in FLOAT_DTYPES
        and _device.uses_metal()
    )
    if by_metal:
        return metal_padding.pad_last_axes(x, sides, mode)
    if not _device.on_gpu() or x.ndim != 5:
        return padding.pad(x, sides, mode, value)
    every = [*[(0, 0)] * (5 - len(sides)), *sides]
    in_order = [every[i] for i in (0, 2, 3, 4, 1)]
    return in_memory_order(lambda x, _: padding.pad(x, in_order, mode, value), x)


def choose(
    geometry: ConvGeometry, dtype: mx.Dtype = mx.float32, transposed: bool = False
) -> Choice:
    """What computes a convolution and its gradients, or its transpose, on this device.

    By rules, or where `lucid.autotune` is on, whatever is the fastest here.
    """
    if tuning.enabled() and not _device.is_plain() and measuring.can_draw(geometry):
        on_gpu = _device.on_gpu()
        metal = on_gpu and _device.uses_metal()
        computed = dtype if on_gpu else mx.float32  # half types, too, on a CPU
        state = on_gpu, metal, store.generation()
        return _measured(geometry, computed, transposed, state)
    return choose_by_rules(geometry, dtype)


def choose_by_rules(geometry: ConvGeometry, dtype: mx.Dtype) -> Choice:
    """The same, without measuring."""
    if _device.on_gpu():
        return choose_on_gpu(geometry, dtype, metal=_device.uses_metal())
    return choose_on_cpu(geometry, plain=_device.is_plain())


@functools.lru_cache(maxsize=1024)
def _measured(
    geometry: ConvGeometry, dtype: mx.Dtype, transposed: bool, state: tuple[object, ...]
) -> Choice:
    """What is the fastest here, measured now or before.

    `state` is what else it depends on, for the cache alone.
    """
    rule = [
        pick.formulation for pick in choose_by_rules(geometry, dtype).passes.values()
    ]
    call = None if transposed else functools.partial(conv3d_by, geometry=geometry)
    found = measuring.fastest(geometry, dtype, rule, candidates(geometry), call)
    return Choice(*(Pick(*formulation_and_reason) for formulation_and_reason in found))


def candidates(geometry: ConvGeometry) -> list[Formulation]:
    """Those that can compute a geometry on this device, in every pass and dtype.

    Any mix of them computes it too. The first is always there.
    """
    with_metal = _device.on_gpu() and _device.uses_metal() and geometry.batch
    if with_metal:
        by_mlx = MLX if geometry.groups == 1 else MLX_BY_GROUP
        every = [METAL, by_mlx, PATCHES_CHANNELS_LAST]
    elif _device.on_gpu() or _device.is_plain():
        return [choose_by_rules(geometry, mx.float32).formulation]
    else:
        every = [COLUMNS, MLX_PLAIN, PATCHES, WINOGRAD, GRID]
    padded = geometry.without_padding  # beforehand, for those that take zeros alone
    if geometry.padding_mode == "zeros":
        padded = geometry
    return [one for one in every if one.fits(geometry if one.every_mode else padded)]


@functools.lru_cache(maxsize=1024)
def choose_on_gpu(geometry: ConvGeometry, dtype: mx.Dtype, metal: bool) -> Choice:
    """The formulations on a GPU, with or without Lucid's Metal kernels."""
    if geometry.batch == 0:
        return Choice.of(
            COLUMNS, "an empty batch, whose gradients MLX's conv3d refuses"
        )
    if not metal:
        # Of uneven padding MLX's Metal backend may take the first side alone.
        even = all(before == after for before, after in geometry.padding)
        by_mlx = geometry.groups == 1 and even and geometry.stride == (1, 1, 1)
        return Choice.of(
            MLX_PLAIN if by_mlx else COLUMNS,
            "Lucid's Metal kernels are switched off, or the GPU is not Apple's",
        )
    if PATCHES_CHANNELS_LAST.fits(geometry):
        return Choice.of(
            PATCHES_CHANNELS_LAST, "no voxel is read twice: one matrix product"
        )
    return Choice(
        *(
            _faster_on_gpu(which, geometry, dtype)
            for which in ("forward", "input gradient", "weight gradient")
        )
    )


def _faster_on_gpu(which: str, geometry: ConvGeometry, dtype: mx.Dtype) -> Pick:
    """Lucid's Metal kernels for one pass, or MLX's, by the arithmetic of both.

    Grouped mx.conv2d, a depth tap at a time, is no third: it would copy patches (K^2
    inputs) unless C/g is at most 4 or divides by 16, and sum half types tap by tap.
    """
    by_mlx = MLX if geometry.groups == 1 else MLX_BY_GROUP
    ours = estimates.of_lucid(which, geometry, dtype.size)
    theirs = estimates.of_mlx(which, geometry, dtype.size)
    picked, other = (METAL, ours), (by_mlx, theirs)
    if theirs[:2] <= ours[:2]:  # as fast as memory is, who has less to do
        picked, other = other, picked
    times = other[1].time / picked[1].time
    ahead = f"{times:.{0 if times >= 10 else 1}f} times as fast by arithmetic"
    reason = f"{ahead}: {picked[1].words}; {other[0]}: {other[1].words}"
    return Pick(picked[0], reason)


@functools.lru_cache(maxsize=1024)
def choose_on_cpu(geometry: ConvGeometry, plain: bool) -> Choice:
    """The formulation that trains fastest on a CPU, as measured.

    `plain` is for those alone that every transformation of MLX's takes.
    """
    if geometry.padding_mode != "zeros":
        geometry = geometry.without_padding  # it is padded beforehand
    g, taps = geometry.groups, math.prod(geometry.kernel_size)
    c, o = geometry.in_channels // g, geometry.out_channels // g
    stride = math.prod(geometry.stride)
    outputs = geometry.batch * math.prod(geometry.output_size)
    columns = 4 * geometry.in_channels * taps * outputs
    if geometry.batch == 0:
        return Choice.of(COLUMNS, "an empty batch, whose gradients mx.conv3d refuses")
    if plain:
        return Choice.of(COLUMNS, "plain operations, which MLX transforms in every way")
    few = outputs <= 1000 or geometry.in_channels * outputs <= SMALL
    # MLX computes dilated convolutions, and gradients of strided ones, in naive loops.
    tiny = (columns <= 2**16 and stride <= 64) or (few and stride == 1)
    if tiny and g <= 4 and max(geometry.dilation) == 1:
        return Choice.of(MLX_PLAIN, "little to do: the fewest operations")
    if PATCHES.fits(geometry):
        return Choice.of(PATCHES, "no voxel is read twice: one matrix product")
    if columns <= SMALL_COLUMNS:
        return Choice.of(COLUMNS, "little to do: few operations")
    tiled = taps > 3 and WINOGRAD.fits(geometry) and wasted_planes(geometry) <= 0.5
    if tiled and min(c, o) >= 16 and c * outputs >= LARGE:
        return Choice.of(WINOGRAD, "half the products along the depth")
    if not GRID.fits(geometry) or grid_waste(geometry) > 2.5:
        return Choice.of(COLUMNS, "a flat grid would be mostly border, or too long")
    # Depthwise, the grid stacks nothing: it is faster, and takes less memory.
    most = COLUMNS_IN_CACHE if stride == 1 else STRIDED_COLUMNS
    if taps <= 4 * stride and columns <= most and c * o > 4:
        return Choice.of(COLUMNS, "each voxel is in few columns")
    if o >= 4 * c and (g == 1 or o > 4):
        return Choice.of(
            COLUMNS, "few channels in: columns are small beside the output"
        )
    grid = Pick(GRID, "a tap is an offset in a flat grid: nothing is gathered")
    if tiled and c >= max(o, 8) and o >= 4:
        thin = "few channels out, which make the grid's products thin"
        return Choice(grid, grid, Pick(WINOGRAD, thin))
    return Choice(grid, grid, grid)
