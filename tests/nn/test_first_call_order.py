"""What a first call draws, and what was asked before it, come in the eager order."""

import lucid
from lucid import nn
import mlx.core as mx
import mlx.nn
import pytest

from tests.nn.test_lazy import lazy, same


def test_a_plain_first_call_draws_what_the_eager_network_draws():
    def network(first, second):
        return nn.Sequential(first, mlx.nn.Dropout(0.5), nn.Sequential(second))

    x = lucid.ones(1, 2, 4, 4, 4)
    lucid.manual_seed(0)
    eager = network(nn.Conv3d(2, 4, 1), nn.Conv3d(4, 3, 1))
    expected = eager(x)
    lucid.manual_seed(0)
    model = network(nn.LazyConv3d(4, 1), nn.LazyConv3d(3, 1))
    assert same(model(x), expected)
    assert same(model[2][0].weight, eager[2][0].weight)


def test_a_lazy_layer_put_into_a_model_that_was_called_before_is_seen():
    model = nn.Sequential(nn.Conv3d(2, 2, 1), mlx.nn.Dropout(0.5))
    pending = nn.LazyConv3d(3, 1)
    x = lucid.ones(1, 2, 4, 4, 4)
    model(x)
    lucid.manual_seed(0)
    eager = nn.Conv3d(2, 3, 1)
    for layer in (pending, nn.LazyConv3d(3, 1)):
        lucid.manual_seed(0)
        whole = nn.Sequential(*model.layers)
        whole(x)
        whole.head = layer
        lucid.manual_seed(0)
        whole(x)
        assert same(layer.weight, eager.weight)


def test_what_is_drawn_stays_tied_and_shared():
    tied = nn.Sequential(nn.LazyConv3d(2, 1), nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 1))
    tied[2].weight = tied[1].weight
    tied(lucid.ones(1, 3, 2, 2, 2))
    assert tied[2].weight is tied[1].weight


def test_apply_and_casts_keep_their_order():
    def fill(module):
        module.weight = nn.init.constant_(mx.zeros_like(module.weight), 1.001)

    x = lucid.ones(1, 2, 3, 3, 3)
    for change in (
        lambda m: m.apply(fill).half(),
        lambda m: m.half().apply(fill),
        lambda m: m.half().apply(fill).float(),
        lambda m: m.bfloat16().float(),
    ):
        lucid.manual_seed(0)
        eager = nn.Conv3d(2, 4, 3)
        change(eager)
        lucid.manual_seed(0)
        late = change(lazy())
        late(x.astype(eager.weight.dtype))
        assert same(late.weight, eager.weight)
        assert late.weight.dtype == eager.weight.dtype


@pytest.mark.parametrize("strict", [True, False])
def test_a_load_that_fails_at_a_later_layer_changes_nothing(strict):
    def fail(module):
        raise ZeroDivisionError

    model = nn.Sequential(nn.LazyConv3d(4, 1), nn.Conv3d(4, 4, 1), nn.LazyConv3d(2, 1))
    model[2].apply(fail)
    state = nn.Sequential(
        nn.Conv3d(3, 4, 1), nn.Conv3d(4, 4, 1), nn.Conv3d(4, 2, 1)
    ).state_dict()
    if not strict:
        del state["0.weight"]  # so that the first keeps its bias for the first call
    before = [dict(layer.items()) for layer in model]
    key = lucid.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        model.load_state_dict(state, strict=strict)
    for layer, entries in zip(model, before, strict=True):
        assert all(layer[name] is array for name, array in entries.items())
    assert model[0].in_channels is model[2].in_channels is None
    assert same(lucid.get_rng_state(), key)
