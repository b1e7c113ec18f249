"""The upsampling layer's own part: its arguments; `tests/layers.py` has the rest."""

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import pytest


def test_upsample_computes_the_functional():
    x = lucid.randn(1, 2, 4, 5, 6)
    options = {"scale_factor": (1.5, 2, 0.6), "mode": "trilinear"}
    layer = nn.Upsample(**options, recompute_scale_factor=True)
    expected = F.interpolate(x, **options, recompute_scale_factor=True)
    assert mx.array_equal(layer(x), expected)


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"size": (2, 2)}, ValueError, "size"),
        ({"size": 2.0}, TypeError, "size"),
        ({"scale_factor": -1}, ValueError, "scale_factor"),
        ({"scale_factor": "2"}, TypeError, "scale_factor"),
        ({"size": 2, "mode": "bilinear"}, ValueError, "mode"),
        ({"size": 2, "mode": 3}, TypeError, "mode"),
        ({"size": 2, "align_corners": True}, ValueError, "align_corners"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name(options, error, name):
    with pytest.raises(error, match=f"`{name}`"):
        nn.Upsample(**options)


@pytest.mark.parametrize("options", [{}, {"size": 2, "scale_factor": 2.0}], ids=str)
def test_a_call_needs_a_size_or_a_factor(options):
    with pytest.raises(ValueError, match="exactly one of `size`"):
        nn.Upsample(**options)(lucid.ones(1, 1, 2, 2, 2))
