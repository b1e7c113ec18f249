"""Embeddings: what they begin with, and what is not trained."""

import lucid
from lucid import nn
import mlx.core as mx
import pytest


def test_vectors_are_drawn_from_the_normal_distribution():
    lucid.manual_seed(0)
    weight = nn.Embedding(1000, 20).weight
    assert weight.mean().item() == pytest.approx(0, abs=0.02)
    assert weight.std().item() == pytest.approx(1, abs=0.02)


def test_the_padding_index_begins_as_zeros_and_has_no_gradient():
    layer = nn.Embedding(5, 3, padding_idx=-2)
    assert layer.padding_idx == 3
    assert layer.weight[3].tolist() == [0, 0, 0]
    indices = lucid.tensor([[3, 1], [1, 0]])
    _, grads = nn.value_and_grad(layer, lambda: layer(indices).sum())()
    assert grads["weight"].sum(1).tolist() == [3, 6, 0, 0, 0]


@pytest.mark.parametrize("freeze", [True, False])
def test_given_vectors_are_taken_and_frozen_and_nothing_is_drawn(freeze):
    vectors, key = lucid.ones(5, 3), lucid.get_rng_state()
    layer = nn.Embedding.from_pretrained(vectors, freeze=freeze)
    assert mx.array_equal(lucid.get_rng_state(), key)
    assert mx.array_equal(layer.weight, vectors)
    assert list(layer.trainable_parameters()) == ([] if freeze else ["weight"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"padding_idx": 5}, "padding_idx"),
        ({"max_norm": 1.0}, "max_norm"),
        ({"sparse": True}, "sparse"),
        ({"_weight": lucid.ones(5, 4)}, "_weight"),
    ],
)
def test_what_is_not_done_is_refused_by_name(options, says):
    with pytest.raises(ValueError, match=f"`{says}`"):
        nn.Embedding(5, 3, **options)
