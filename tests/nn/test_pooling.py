"""Pooling layers: the functions, with the same arguments."""

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import pytest

X = lucid.randn(2, 3, 6, 7, 8)

# layer, function, its arguments
CASES = [
    (nn.MaxPool3d(3, 2, 1, 2, ceil_mode=True), F.max_pool3d, (3, 2, 1, 2, True)),
    (nn.MaxPool3d((1, 2, 3)), F.max_pool3d, ((1, 2, 3),)),
    (nn.AvgPool3d(2, 1, 1, False, False), F.avg_pool3d, (2, 1, 1, False, False)),
    (
        nn.AvgPool3d(2, divisor_override=3),
        F.avg_pool3d,
        (2, None, 0, False, True, 3),
    ),
    (nn.AdaptiveMaxPool3d(2), F.adaptive_max_pool3d, (2,)),
    (nn.AdaptiveAvgPool3d((1, 2, None)), F.adaptive_avg_pool3d, ((1, 2, None),)),
]


@pytest.mark.parametrize(("layer", "function", "arguments"), CASES)
def test_a_layer_is_its_function(layer, function, arguments):
    assert mx.array_equal(layer(X), function(X, *arguments))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.MaxPool3d(2, return_indices=True),
        lambda: nn.AdaptiveMaxPool3d(2, True),
    ],
)
def test_a_layer_may_say_where_the_largest_are(make):
    largest, places = make()(X)
    assert largest.shape == places.shape
    assert places.dtype == mx.int64


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nn.MaxPool3d(0), "kernel_size"),
        (lambda: nn.MaxPool3d(2, padding=2), "padding"),
        (lambda: nn.AvgPool3d(2, divisor_override=0), "divisor_override"),
        (lambda: nn.AdaptiveAvgPool3d((1, 2)), "output_size"),
    ],
)
def test_a_layer_refuses_when_it_is_made(make, says):
    with pytest.raises(ValueError, match=f"`{says}`"):
        make()
