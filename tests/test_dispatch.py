"""Which formulation computes which geometry."""

from lucid import dispatch
import lucid.nn.functional as F
import mlx.core as mx
import pytest


@pytest.mark.parametrize(
    ("weight_shape", "options", "native"),
    [
        ((4, 16, 3, 3, 3), {}, True),
        ((4, 16, 1, 1, 3), {"padding_mode": "circular", "padding": (0, 0, 1)}, True),
        ((4, 15, 3, 3, 3), {}, False),
        ((4, 16, 1, 1, 1), {}, False),
        ((4, 16, 3, 3, 3), {"stride": (1, 1, 2)}, False),
        ((4, 16, 3, 3, 3), {"dilation": (1, 2, 1)}, False),
        ((4, 8, 3, 3, 3), {"groups": 2}, False),
    ],
)
def test_the_choice_on_the_cpu(monkeypatch, weight_shape, options, native):
    chosen = []
    for name in ("conv3d_native", "conv3d_columns"):
        monkeypatch.setattr(
            dispatch, name, lambda x, *_, name=name: chosen.append(name) or x
        )
    channels = weight_shape[1] * options.get("groups", 1)
    weight = mx.zeros(weight_shape)
    F.conv3d(mx.zeros((1, channels, 5, 5, 5)), weight, **options)
    F.conv3d(mx.zeros((0, channels, 5, 5, 5)), weight, **options)
    assert chosen == ["conv3d_native" if native else "conv3d_columns", "conv3d_columns"]
