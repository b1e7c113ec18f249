"""Dropout layers: the functions, in training."""

import lucid
from lucid import nn
import lucid.nn.functional as F
import mlx.core as mx
import pytest

LAYERS = {
    nn.Dropout: F.dropout,
    nn.Dropout3d: F.dropout3d,
    nn.AlphaDropout: F.alpha_dropout,
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_the_function_in_training_and_nothing_in_evaluation(kind):
    x = lucid.randn(2, 8, 3, 3, 3)
    layer = kind(0.3)
    lucid.manual_seed(1)
    y = layer(x)
    lucid.manual_seed(1)
    assert mx.array_equal(y, LAYERS[kind](x, 0.3, training=True))
    assert not mx.array_equal(y, x)
    assert layer.eval()(x) is x
