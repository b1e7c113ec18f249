"""The padding layers' own part: their arguments; `tests/layers.py` has the rest."""

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import pytest

LAYERS = {
    "zeros": nn.ZeroPad3d,
    "reflect": nn.ReflectionPad3d,
    "replicate": nn.ReplicationPad3d,
    "circular": nn.CircularPad3d,
}


@pytest.mark.parametrize("mode", LAYERS)
def test_a_layer_pads_the_last_axis_first(mode):
    x = lucid.randn(1, 2, 4, 5, 6)
    sides = (0, 1, 2, 0, 3, 1)
    got = LAYERS[mode](list(sides))(x)
    assert got.shape == (1, 2, 8, 7, 7)
    name = "constant" if mode == "zeros" else mode
    assert mx.array_equal(got, F.pad(x, sides, name))


@pytest.mark.parametrize("make", [*LAYERS.values(), lambda p: nn.ConstantPad3d(p, 1)])
@pytest.mark.parametrize(
    ("padding", "error"),
    [((1, 1), ValueError), ((1,) * 7, ValueError), (1.5, TypeError), ("1", TypeError)],
)
def test_padding_is_one_int_or_six(make, padding, error):
    with pytest.raises(error, match="`padding`"):
        make(padding)


@pytest.mark.parametrize("make", [*LAYERS.values(), lambda p: nn.ConstantPad3d(p, 1)])
@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 1, 2, 4, 5, 6)])
def test_what_is_no_volume_is_refused(make, shape):
    with pytest.raises(ValueError, match="`input` must be 5-D"):
        make(1)(lucid.ones(shape))
