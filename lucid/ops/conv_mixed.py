"""Formulations mixed: each pass of a convolution by another."""

from __future__ import annotations

from collections.abc import Callable

from lucid.geometry import ConvGeometry
from lucid.layout import channels_first, channels_last
from lucid.ops.conv import Formulation
import mlx.core as mx


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

    def fits(geometry: ConvGeometry) -> bool:
        return all(one.fits(geometry) for one in distinct)

    return Formulation(
        " / ".join(one.name for one in passes),
        forward.forward,
        _in_layout_of(forward, input_gradient, input_gradient.input_gradient),
        _in_layout_of(forward, weight_gradient, weight_gradient.weight_gradient),
        temporaries="; ".join(f"{one}: {one.temporaries}" for one in distinct),
        fits=fits,
        channels_last=forward.channels_last,
        every_mode=all(one.every_mode for one in distinct),
        takes_half=all(one.takes_half for one in distinct),
        weight_order=forward.weight_order or input_gradient.weight_order,
    )


def _in_layout_of(
    other: Formulation, formulation: Formulation, function: Callable[..., mx.array]
) -> Callable[..., mx.array]:
    """A gradient of `formulation`, on volumes in the layout of another."""
    if formulation.channels_last == other.channels_last:
        return function
    there, back = channels_first, channels_last
    if formulation.channels_last:
        there, back = back, there

    def in_layout(a: mx.array, b: mx.array, geometry: ConvGeometry) -> mx.array:
        if function is formulation.weight_gradient:  # of x and dy
            return function(there(a), there(b), geometry)
        return back(function(there(a), b, geometry))  # of dy and the weight

    return in_layout
