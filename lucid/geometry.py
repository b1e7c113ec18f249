"""The geometry of a 3-D convolution: made and checked once, trusted from there on."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from dataclasses import dataclass
import functools
from typing import Any, cast

from lucid._types import PaddingMode, check_allocatable, one_of, shown, triple

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")

Triple = tuple[int, int, int]
Padding = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class ConvGeometry:
    """Every size of one convolution; triples are (depth, height, width)."""

    batch: int
    in_channels: int
    out_channels: int
    input_size: Triple
    kernel_size: Triple
    stride: Triple
    padding: Padding  # (before, after) on each axis
    dilation: Triple
    groups: int
    padding_mode: str

    @functools.cached_property
    def padded_size(self) -> Triple:
        d, h, w = (
            n + sum(p) for n, p in zip(self.input_size, self.padding, strict=True)
        )
        return d, h, w

    @functools.cached_property
    def span(self) -> Triple:
        """The voxels between a kernel's first and last tap, both counted."""
        d, h, w = (
            t * (k - 1) + 1
            for k, t in zip(self.kernel_size, self.dilation, strict=True)
        )
        return d, h, w

    @functools.cached_property
    def output_size(self) -> Triple:
        """floor((padded - dilation * (kernel - 1) - 1) / stride) + 1 on each axis."""
        d, h, w = (
            (n - e) // s + 1
            for n, e, s in zip(self.padded_size, self.span, self.stride, strict=True)
        )
        return d, h, w

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.batch, self.in_channels, *self.input_size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        per_group = self.in_channels // self.groups
        return (self.out_channels, per_group, *self.kernel_size)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.batch, self.out_channels, *self.output_size)

    @property
    def without_padding(self) -> ConvGeometry:
        """The same convolution of an input that was padded beforehand."""
        none = (0, 0)
        return dataclasses.replace(
            self,
            input_size=self.padded_size,
            padding=(none, none, none),
            padding_mode="zeros",
        )

    @property
    def is_padded(self) -> bool:
        return any(before or after for before, after in self.padding)


def check_padding(padding: Any, stride: Triple) -> Triple | str:
    """Padding as three ints, 'same' or 'valid'; checked against the stride."""
    if not isinstance(padding, str):
        return triple("padding", padding, minimum=0)
    if padding not in ("same", "valid"):
        raise ValueError(
            f"`padding` (={shown(padding)}) must be an int, three ints, 'same' or "
            "'valid'."
        )
    if padding == "same" and stride != (1, 1, 1):
        raise ValueError(f"`padding` (='same') needs `stride` 1, got {stride}.")
    return padding


def check_padding_mode(padding_mode: Any) -> PaddingMode:
    """One of the four known modes."""
    return cast(PaddingMode, one_of("padding_mode", padding_mode, PADDING_MODES))


def check_groups(groups: int, name: str, channels: int) -> None:
    """`groups` must divide `in_channels` and `out_channels` alike."""
    if channels % groups:
        raise ValueError(f"`groups` (={groups}) must divide `{name}` (={channels}).")


def padding_per_side(
    padding: Triple | str, kernel_size: Triple, dilation: Triple
) -> Padding:
    """Voxels before and after on each axis; 'same' puts an odd one after."""
    if isinstance(padding, str):
        totals = [
            d * (k - 1) if padding == "same" else 0
            for k, d in zip(kernel_size, dilation, strict=True)
        ]
        d, h, w = ((total // 2, total - total // 2) for total in totals)
    else:
        d, h, w = ((p, p) for p in padding)
    return d, h, w


def check_pad(
    name: str, padding: Sequence[tuple[int, int]], size: tuple[int, ...], mode: str
) -> None:
    """Refuse more padding than `size` has voxels to fill it from."""
    limits = {"reflect": -1, "circular": 0}
    if mode not in limits:
        return
    for sides, length in zip(padding, size, strict=True):
        if max(sides) > length + limits[mode]:
            bound = "less than" if mode == "reflect" else "at most"
            raise ValueError(
                f"`{name}` (={shown(max(sides))}) with mode '{mode}' must be {bound} "
                f"the input's size on that axis (={length}); input size {size}."
            )


@functools.lru_cache(maxsize=1024)
def conv_geometry(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Triple,
    padding: Triple | str,
    dilation: Triple,
    groups: int,
    padding_mode: str,
    itemsize: int = 4,
) -> ConvGeometry:
    """The geometry of (N, C, D, H, W) against (O, C/groups, KD, KH, KW), checked.

    The options have passed their own checks (`triple`, `check_padding` ...); here
    they meet the arrays.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    if len(weight_shape) != 5:
        raise ValueError(
            f"`weight` must be 5-D (O, C/groups, KD, KH, KW), got shape {weight_shape}."
        )
    batch, in_channels, depth, height, width = input_shape
    out_channels, per_group = weight_shape[:2]
    check_input_shape(input_shape)
    check_groups(groups, "in_channels", in_channels)
    check_groups(groups, "out_channels", out_channels)
    if min(weight_shape) < 1:
        raise ValueError(f"`weight` has an empty axis: shape {weight_shape}.")
    if in_channels != per_group * groups:
        raise ValueError(
            f"`input` has {in_channels} channels (shape {input_shape}), but `weight` "
            f"of shape {weight_shape} with `groups` (={groups}) takes "
            f"{per_group * groups}."
        )
    kd, kh, kw = weight_shape[2:]
    geometry = ConvGeometry(
        batch=batch,
        in_channels=in_channels,
        out_channels=out_channels,
        input_size=(depth, height, width),
        kernel_size=(kd, kh, kw),
        stride=stride,
        padding=padding_per_side(padding, (kd, kh, kw), dilation),
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )
    check_pad("padding", geometry.padding, geometry.input_size, padding_mode)
    if min(geometry.output_size) < 1:
        raise ValueError(
            f"`kernel_size` {geometry.kernel_size} with `dilation` {dilation} spans "
            f"{geometry.span} voxels, more than the padded input "
            f"{geometry.padded_size}."
        )
    padded = (batch, in_channels, *geometry.padded_size)
    check_allocatable(f"`padding` (={shown(padding)})", padded, itemsize)
    check_allocatable("`input` and `weight`", geometry.output_shape, itemsize)
    return geometry


@functools.lru_cache(maxsize=1024)
def conv_transpose_geometry(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Triple,
    padding: Triple,
    output_padding: Triple,
    dilation: Triple,
    groups: int,
    itemsize: int = 4,
) -> ConvGeometry:
    """The convolution whose input gradient is the transposed one, checked.

    It goes from the output's channels and size to those of the input,
    (N, C, D, H, W); the weight is (C, O/groups, KD, KH, KW).

    Raises:
        ValueError: naming the argument that does not fit.
    """
    if len(weight_shape) != 5:
        raise ValueError(
            f"`weight` must be 5-D (C, O/groups, KD, KH, KW), got shape {weight_shape}."
        )
    batch, in_channels, *size = input_shape
    check_input_shape(input_shape)
    if min(weight_shape) < 1:
        raise ValueError(f"`weight` has an empty axis: shape {weight_shape}.")
    check_groups(groups, "in_channels", in_channels)
    if in_channels != weight_shape[0]:
        raise ValueError(
            f"`input` has {in_channels} channels (shape {input_shape}), but `weight` "
            f"of shape {weight_shape} takes {weight_shape[0]}."
        )
    kd, kh, kw = weight_shape[2:]
    depth, height, width = (
        (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for n, s, p, d, k, extra in zip(
            *(size, stride, padding, dilation, (kd, kh, kw), output_padding),
            strict=True,
        )
    )
    if min(depth, height, width) < 1:
        raise ValueError(
            f"`padding` (={shown(padding)}) leaves an output of size "
            f"{(depth, height, width)}."
        )
    geometry = ConvGeometry(
        batch=batch,
        in_channels=groups * weight_shape[1],
        out_channels=in_channels,
        input_size=(depth, height, width),
        kernel_size=(kd, kh, kw),
        stride=stride,
        padding=padding_per_side(padding, (kd, kh, kw), dilation),
        dilation=dilation,
        groups=groups,
        padding_mode="zeros",
    )
    padded = (batch, geometry.in_channels, *geometry.padded_size)
    check_allocatable("`input` and `weight`", padded, itemsize)
    return geometry


def check_output_padding(
    output_padding: Any, stride: Triple, dilation: Triple
) -> Triple:
    """Three ints, each less than the stride or the dilation."""
    extra = triple("output_padding", output_padding, minimum=0)
    for given, s, d in zip(extra, stride, dilation, strict=True):
        if given >= max(s, d):
            raise ValueError(
                f"`output_padding` (={shown(extra)}) must be less than `stride` "
                f"(={stride}) or `dilation` (={dilation})."
            )
    return extra


def check_input_shape(shape: tuple[int, ...]) -> None:
    """(N, C, D, H, W) with channels and voxels; an empty batch is fine."""
    if min(shape[1:]) < 1:
        raise ValueError(
            f"`input` must have at least one channel and one voxel, got shape {shape}."
        )
