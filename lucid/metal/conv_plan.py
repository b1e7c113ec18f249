"""What a thread of each convolution kernel computes, and how far its loads let it go.

The estimates are arithmetic, not measurements: a core of Apple's GPUs loads 64 bytes a
cycle from its cache, and does 128 multiply-adds or other instructions. A number of a
half type takes two before it is multiplied: it is converted, or it is a zero instead.
"""

from __future__ import annotations

from dataclasses import dataclass
import functools
import math

from lucid.geometry import ConvGeometry

# Numbers that a thread keeps of the positions along W that it reads, while it goes over
# the taps that share them: a vector and an offset of each of 11. With more, a thread
# needs over 128 registers, as `tests/metal_emulator/registers.py` counts them, and
# Apple's GPUs have no more for one.
HELD = 55
# Outputs along W that a thread computes. For 3x3x3 taps and four channels by four, four
# outputs load 6 vectors of inputs and 12 of weights in float32, 288 bytes, for 192
# products, a third of the peak; eight load 10 and 12 for twice the products, 0.55 of
# it. Half types reach 0.57 with four, bound by instructions; depthwise, memory allows
# 0.2 at best.
STRIP, LONG_STRIP = 4, 8
# Vectors of sums and of what is read that a strip of an input gradient, and every long
# strip, may hold, for the same reason: with a kernel of 7 or a stride of 2 it is short.
VECTORS = 18
# Sums of a weight gradient that a thread holds, in vectors: 3 taps of 4 channels.
SUMS = 12
# Threads wanted for a weight gradient: a few times what the largest GPUs keep resident.
THREADS_WANTED = 2**16


@dataclass(frozen=True)
class Plan:
    """What one thread does between two loads of what it keeps.

    Args:
        vec: adjacent channels that it computes.
        lanes: channels that it contracts at a time; depthwise, one.
        depthwise: whether the `vec` channels belong to as many groups.
        strip: positions along W that it goes over at a time.
        taps: along W, taken at once.
        step: between the positions that it reads.
        span: positions that it reads.
        shared: whether what it reads serves all taps.
        loaded: numbers that it loads.
        products: multiply-adds that it does with them.
    """

    vec: int
    lanes: int
    depthwise: bool
    strip: int
    taps: int
    step: int
    span: int
    shared: bool
    loaded: int
    products: int

    @property
    def tile(self) -> dict[str, int]:
        """What every kernel is compiled for."""
        names = {"VEC": self.vec, "LANES": self.lanes, "DEPTHWISE": self.depthwise}
        return {**names, "TW": self.strip}

    @property
    def chunk(self) -> dict[str, int]:
        """What the kernels are compiled for that read positions a step apart."""
        return {"KB": self.taps, "STEP": self.step}

    def share_of_peak(self, itemsize: int) -> float:
        """Of the products that a GPU could do, those that the loads leave time for."""
        conversions = 2 * self.loaded if itemsize < 4 else 0
        cycles = max(self.loaded * itemsize / 64, (self.products + conversions) / 128)
        return self.products / 128 / cycles


@functools.lru_cache(maxsize=1024)
def forward_plan(geometry: ConvGeometry, itemsize: int) -> Plan:
    """Outputs from inputs: an input is loaded once for all taps that it meets."""
    vec, lanes, depthwise = _output_tile(geometry)
    each = vec if depthwise else lanes
    taps, step = _chunk(geometry, each)
    strip = STRIP
    if itemsize == 4 and not depthwise and geometry.output_size[2] > STRIP:
        longer = LONG_STRIP + _span(geometry, LONG_STRIP, taps, step)
        strip = LONG_STRIP if longer <= VECTORS else STRIP
    span = _span(geometry, strip, taps, step)
    loaded = span * each + taps * lanes * vec
    products = strip * taps * lanes * vec
    return Plan(
        *(vec, lanes, depthwise, strip, taps, step, span),
        shared=True,
        loaded=loaded,
        products=products,
    )


@functools.lru_cache(maxsize=1024)
def input_gradient_plan(geometry: ConvGeometry, itemsize: int) -> Plan:
    """Inputs from outputs: strips begin at a multiple of the stride, to share loads."""
    vec, lanes, depthwise = _input_tile(geometry)
    sw, dw, kw = _along_w(geometry)

    def span_of(strip: int) -> int:
        return (strip - 1) // sw + (kw - 1) * dw // sw + 1

    strip = sw * max(1, STRIP // sw)
    longer = sw * max(1, LONG_STRIP // sw)
    # The copies that other modes make of a voxel take as many registers as a strip.
    vectors = VECTORS if geometry.padding_mode == "zeros" else VECTORS - STRIP
    if itemsize == 4 and not depthwise and geometry.input_size[2] > strip:
        strip = longer if longer + span_of(longer) <= vectors else strip
    shared = strip + span_of(strip) <= vectors
    strip = strip if shared else STRIP
    each = vec if depthwise else lanes
    loaded, products = each + lanes * vec, lanes * vec  # of one tap and voxel
    if shared:
        loaded = span_of(strip) * each + kw * lanes * vec
        products = strip * kw * lanes * vec // sw
    return Plan(
        *(vec, lanes, depthwise, strip, kw, 1, span_of(strip)),
        shared=shared,
        loaded=loaded,
        products=products,
    )


@functools.lru_cache(maxsize=1024)
def weight_gradient_plan(geometry: ConvGeometry) -> Plan:
    """Weights from inputs and outputs, four outputs at a time.

    Eight would raise the share of the peak from 0.6 to 0.67, for 48 registers.
    """
    vec, lanes, depthwise = _output_tile(geometry)
    each = vec if depthwise else lanes
    taps, step = _chunk(geometry, each)
    while lanes > 1 and taps * lanes > SUMS:
        lanes //= 2
    span = _span(geometry, STRIP, taps, step)
    loaded = span * (vec if depthwise else lanes) + STRIP * vec
    return Plan(
        *(vec, lanes, depthwise, STRIP, taps, step, span),
        shared=True,
        loaded=loaded,
        products=STRIP * taps * lanes * vec,
    )


@dataclass(frozen=True)
class Splits:
    """How the rows of outputs of a weight gradient are shared out among threads."""

    rows: int  # of one split
    count: int
    threads: tuple[int, int, int]


def weight_gradient_splits(geometry: ConvGeometry, itemsize: int) -> Splits:
    """Enough splits to fill a GPU, while their parts stay smaller than the arrays."""
    plan = weight_gradient_plan(geometry)
    per_group = geometry.in_channels // geometry.groups
    kernel = math.prod(geometry.kernel_size)
    lanes = geometry.out_channels // plan.vec * per_group // plan.lanes
    rows = geometry.batch * math.prod(geometry.output_size[:2])
    part = 4 * math.prod(geometry.weight_shape)
    arrays = itemsize * sum(
        map(math.prod, (geometry.input_shape, geometry.output_shape))
    )
    wanted = -(-THREADS_WANTED * plan.taps // (lanes * kernel))
    wanted = max(min(wanted, arrays // part, rows), 1)
    rows_a_split = -(-rows // wanted)
    count = -(-rows // rows_a_split)
    return Splits(rows_a_split, count, (lanes, kernel // plan.taps, count))


def _output_tile(geometry: ConvGeometry) -> tuple[int, int, bool]:
    """Channels of a thread that computes outputs from a group's inputs."""
    g = geometry.groups
    return _tile(geometry.out_channels // g, geometry.in_channels // g, g)


def _input_tile(geometry: ConvGeometry) -> tuple[int, int, bool]:
    """Channels of a thread that computes inputs from a group's outputs."""
    g = geometry.groups
    return _tile(geometry.in_channels // g, geometry.out_channels // g, g)


def _tile(computed: int, contracted: int, groups: int) -> tuple[int, int, bool]:
    """Channels computed and contracted at a time, and whether they are of many groups.

    With 3 taps, a strip of four loads 0.75 numbers for a product of one channel by one,
    0.5 of two by two, 0.375 of four by four; and they come in vectors.
    """
    if computed == contracted == 1 and groups % 2 == 0:
        return _vector(groups), 1, True
    return _vector(computed), _vector(contracted), False


def _vector(channels: int) -> int:
    """The longest vector of which there is a whole number."""
    return 4 if channels % 4 == 0 else 2 if channels % 2 == 0 else 1


def _along_w(geometry: ConvGeometry) -> tuple[int, int, int]:
    """Stride, dilation and kernel size along W."""
    return geometry.stride[2], geometry.dilation[2], geometry.kernel_size[2]


def _chunk(geometry: ConvGeometry, each: int) -> tuple[int, int]:
    """Taps along W that a strip takes at once, and the step between their voxels.

    As many as divide the kernel evenly while what they read, `each` numbers a position,
    fits the registers.
    """
    sw, dw, kw = _along_w(geometry)
    step = math.gcd(sw, dw)
    for taps in range(kw, 1, -1):
        if kw % taps == 0 and _span(geometry, STRIP, taps, step) * (each + 1) <= HELD:
            return taps, step
    return 1, sw


def _span(geometry: ConvGeometry, strip: int, taps: int, step: int) -> int:
    """The positions, a step apart, that a strip reads for some of the taps."""
    sw, dw, _ = _along_w(geometry)
    return ((strip - 1) * sw + (taps - 1) * dw) // step + 1
