"""Formulations mixed: each pass of a convolution by another."""

from __future__ import annotations

from collections.abc import Callable

from lucid.geometry import ConvGeometry
from lucid.ops.conv import Formulation
import mlx.core as mx

_TO_CHANNELS_LAST, _TO_CHANNELS_FIRST = (0, 2, 3, 4, 1), (0, 4, 1, 2, 3)


def mixed(
    forward: Formulation, input_gradient: Formulation, weight_gradient: Formulation
) -> Formulation:
    """The passes of three formulations as one, in the layout of the first.

    It takes what all three take: one that sees padding with zeros alone, or no half
    types, has the input padded or widened for all of them.
    """
    passes = (forward, input_gradient, weight_gradient)
    distinct = list(dict.fromkeys(passes))
    if len(distinct) == 1:
        return forward
    layout = forward.channels_last

    def fits(geometry: ConvGeometry) -> bool:
        return all(one.fits(geometry) for one in distinct)

    return Formulation(
        " / ".join(one.name for one in passes),
        forward.forward,
        _in_layout(layout, input_gradient, input_gradient.input_gradient),
        _in_layout(layout, weight_gradient, weight_gradient.weight_gradient),
        temporaries="; ".join(f"{one}: {one.temporaries}" for one in distinct),
        fits=fits,
        channels_last=layout,
        every_mode=all(one.every_mode for one in distinct),
        takes_half=all(one.takes_half for one in distinct),
        weight_order=forward.weight_order or input_gradient.weight_order,
    )


def _in_layout(
    channels_last: bool, formulation: Formulation, function: Callable[..., mx.array]
) -> Callable[..., mx.array]:
    """A gradient of `formulation`, on volumes of another layout."""
    if formulation.channels_last == channels_last:
        return function
    there, back = _TO_CHANNELS_FIRST, _TO_CHANNELS_LAST
    if formulation.channels_last:
        there, back = back, there

    def in_layout(a: mx.array, b: mx.array, geometry: ConvGeometry) -> mx.array:
        a = a.transpose(there)  # x or dy
        if function is formulation.weight_gradient:
            return function(a, b.transpose(there), geometry)
        return function(a, b, geometry).transpose(back)

    return in_layout
