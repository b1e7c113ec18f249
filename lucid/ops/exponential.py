"""The exponential, which MLX's CPU backend on Linux computes number by number."""

from __future__ import annotations

import itertools
import sys

from lucid import _device
from lucid.ops.turns import by_turns
import mlx.core as mx

# Added to a number k, it leaves k + 128 in the last bits: the exponent of 2^(k + 1).
_TO_BITS = 1.5 * 2.0**23 + 128
_LOG2_E = 1.4426950408889634
# log(2) in two parts, the first of few bits, so that its multiples are exact.
_LOG_2_HIGH, _LOG_2_LOW = 0.693359375, -2.12194440e-4
_LOWEST = -88.8  # where k is -128, and the bits 0
# f / tanh(f / 2) = 2 + f^2 / 6 - f^4 / 360 + ..., fitted for f of at most log(2) / 2
# as _TOP - _FACTOR * (f^2 - _CENTER)^2, which takes one array less than the powers.
_TOP, _FACTOR, _CENTER = 4.5106441, 0.002765985, 30.127818
# Numbers in a part. Measured: two threads gain nothing from fewer than two such parts.
_PART = 2**19


def exp_of_negative(x: mx.array) -> mx.array:
    """exp(x) of numbers that are 0 or less; not to be differentiated.

    On Linux's CPU backend by 18 operations that are vectorized, which take less than
    half the time of MLX's exponential and are more exact (2e-7 against 2e-6). Numbers
    below -88.4, whose exponential is below 5e-39, give 0.
    """
    if sys.platform != "linux" or _device.on_gpu() or x.dtype != mx.float32:
        return mx.exp(x)
    count = x.size // _PART
    if count < 2:
        return _exponential(x)
    flat = x.flatten()
    cuts = [len(flat) * i // count for i in range(count + 1)]
    parts = [flat[start:stop] for start, stop in itertools.pairwise(cuts)]
    return mx.concatenate(by_turns(_exponential, parts)).reshape(x.shape)


def _exponential(x: mx.array) -> mx.array:
    # exp(x) = 2^k * exp(f), where x = k * log(2) + f with an integer k,
    # and exp(f) / 2 = f / (f / tanh(f / 2) - f) + 1 / 2.
    x = mx.maximum(x, _LOWEST)
    bits = x * _LOG2_E + _TO_BITS
    k = bits - _TO_BITS
    f = x - k * _LOG_2_HIGH - k * _LOG_2_LOW
    quotient = _TOP - mx.square(mx.square(f) - _CENTER) * _FACTOR
    half = f / (quotient - f) + 0.5
    power = mx.left_shift(bits.view(mx.int32), mx.array(23, mx.int32))
    return half * power.view(mx.float32)
