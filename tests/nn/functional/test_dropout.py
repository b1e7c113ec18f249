"""Dropouts: what is kept, how often, and what the mean and variance become."""

import lucid
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

DROPOUTS = {"dropout": F.dropout, "dropout3d": F.dropout3d, "alpha": F.alpha_dropout}
of_every_dropout = pytest.mark.parametrize("name", DROPOUTS)
X = mx.random.normal((4, 50, 8, 8, 8), key=mx.random.key(0))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_an_entry_is_dropped_or_scaled(p):
    lucid.manual_seed(0)
    y = np.array(F.dropout(X, p))
    kept = y != 0
    assert kept.mean() == pytest.approx(1 - p, abs=0.01)
    np.testing.assert_allclose(y[kept], np.array(X)[kept] / (1 - p), rtol=1e-6)


@pytest.mark.parametrize("shape", [X.shape, X.shape[1:]], ids=["batch", "volume"])
def test_a_channel_is_dropped_whole(shape):
    lucid.manual_seed(0)
    y = np.array(F.dropout3d(mx.ones(shape), 0.25)).reshape(-1, 8**3)
    assert (y == y[:, :1]).all()
    assert np.unique(y[:, 0]).tolist() == pytest.approx([0, 4 / 3])
    assert (y[:, 0] == 0).mean() == pytest.approx(0.25, abs=0.15)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(p):
    lucid.manual_seed(0)
    y = F.alpha_dropout(X, p, training=True)
    assert y.mean().item() == pytest.approx(0, abs=0.02)
    assert y.var().item() == pytest.approx(1, abs=0.02)


@of_every_dropout
def test_nothing_happens_outside_training_or_at_probability_0(name):
    key = lucid.get_rng_state()
    assert DROPOUTS[name](X, 0.5, False) is X
    assert DROPOUTS[name](X, 0, True) is X
    assert mx.array_equal(lucid.get_rng_state(), key)


@of_every_dropout
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_at_probability_1_nothing_is_left(name, dtype):
    y = DROPOUTS[name](X.astype(getattr(mx, dtype)), 1, True)
    assert (y == 0).all()
    assert y.dtype == getattr(mx, dtype)


@of_every_dropout
def test_the_gradient_is_zero_where_the_output_was_dropped(name):
    lucid.manual_seed(0)
    slopes = []

    def loss(x):
        y = DROPOUTS[name](x, 0.5, True)
        slopes.append(mx.stop_gradient(y))
        return y.sum()

    gradient = np.array(mx.grad(loss)(X))
    y = np.array(slopes[0])
    dropped = gradient == 0
    assert dropped.mean() == pytest.approx(0.5, abs=0.15)
    assert (y[dropped] == y[dropped][0]).all()
    assert (y[~dropped] != y[dropped][0]).all()


@of_every_dropout
@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability_is_refused(name, p):
    with pytest.raises(ValueError, match="`p`"):
        DROPOUTS[name](X, p)


def test_dropout3d_wants_volumes():
    with pytest.raises(ValueError, match="`input`"):
        F.dropout3d(lucid.ones(2, 3))
