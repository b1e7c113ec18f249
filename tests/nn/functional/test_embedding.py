"""One-hot vectors and rows of a table against NumPy."""

import lucid
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np
import pytest

from tests.oracle.tolerances import assert_close

INDICES = np.random.default_rng(0).integers(0, 7, (3, 50))
WEIGHT = np.random.default_rng(1).standard_normal((9, 4)).astype(np.float32)
DY = np.random.default_rng(2).standard_normal((3, 50, 4)).astype(np.float32)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0, 2)], ids=str)
def test_one_hot_is_one_at_its_class(shape):
    classes = np.random.default_rng(0).integers(0, 4, shape)
    got = F.one_hot(mx.array(classes), 4)
    assert got.dtype == mx.int64
    np.testing.assert_array_equal(np.array(got), np.eye(4)[classes])


def test_one_hot_counts_the_classes_if_asked():
    assert F.one_hot(lucid.tensor([[1, 0], [3, 1]])).shape == (2, 2, 4)


def gradient(padding_idx=None, by_frequency=False):
    want = np.zeros(WEIGHT.shape)
    np.add.at(want, INDICES.reshape(-1), DY.reshape(-1, 4).astype(float))
    if by_frequency:
        want /= np.maximum(np.bincount(INDICES.reshape(-1), minlength=9), 1)[:, None]
    if padding_idx is not None:
        want[padding_idx] = 0
    return want


@pytest.mark.parametrize("dtype", [mx.int32, mx.int64, mx.uint8], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"padding_idx": 2}, {"padding_idx": -4}, {"by_frequency": True}]
)
def test_rows_and_their_gradient(options, dtype):
    indices = mx.array(INDICES).astype(dtype)
    given = {
        name.replace("by_frequency", "scale_grad_by_freq"): value
        for name, value in options.items()
    }
    (got,), (dweight,) = mx.vjp(
        lambda w: F.embedding(indices, w, **given), [mx.array(WEIGHT)], [mx.array(DY)]
    )
    np.testing.assert_array_equal(np.array(got), WEIGHT[INDICES])
    assert_close(dweight, gradient(**options), "gradient")


def test_no_indices_have_no_rows_and_no_gradient():
    none = lucid.zeros(0, 3, dtype="int32")
    weight = mx.array(WEIGHT)
    assert F.embedding(none, weight).shape == (0, 3, 4)
    assert (mx.grad(lambda w: F.embedding(none, w).sum())(weight) == 0).all()


@pytest.mark.parametrize("bad", [-1, 9, 2**31, 2**40])
def test_what_is_no_index_becomes_nan_and_has_no_gradient(bad):
    indices = mx.array([bad, 8, 0], mx.int64)
    y = F.embedding(indices, mx.array(WEIGHT))
    assert np.isnan(np.array(y)).all(1).tolist() == [True, False, False]
    gradient = mx.grad(lambda w: F.embedding(indices, w)[1:].sum())(mx.array(WEIGHT))
    assert gradient.sum(1).tolist() == [4, 0, 0, 0, 0, 0, 0, 0, 4]


def test_half_types_add_up_in_float32():
    weight = mx.ones((2, 3), mx.float16)
    indices = lucid.zeros(5000, dtype="int32")
    got = mx.grad(lambda w: F.embedding(indices, w).sum())(weight)
    assert got.tolist() == [[5000.0] * 3, [0.0] * 3]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: F.one_hot(lucid.ones(2), 2), TypeError, "`tensor`"),
        (lambda: F.one_hot(lucid.tensor([0, 1]), 0), ValueError, "`num_classes`"),
        (
            lambda: F.one_hot(lucid.zeros(0, dtype="int32")),
            ValueError,
            "`num_classes`",
        ),
        (lambda: F.embedding(lucid.ones(2), lucid.ones(2, 3)), TypeError, "`input`"),
        (
            lambda: F.embedding(lucid.tensor([0]), lucid.ones(2)),
            ValueError,
            "`weight`",
        ),
        (
            lambda: F.embedding(lucid.tensor([0]), lucid.ones(2, 3), padding_idx=2),
            ValueError,
            "`padding_idx`",
        ),
        (
            lambda: F.embedding(lucid.tensor([0]), lucid.ones(2, 3), max_norm=1.0),
            ValueError,
            "`max_norm`",
        ),
        (
            lambda: F.embedding(lucid.tensor([0]), lucid.ones(2, 3), sparse=True),
            ValueError,
            "`sparse`",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, error, says):
    with pytest.raises(error, match=says):
        call()
