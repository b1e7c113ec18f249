"""What PyTorch's lazy layers get wrong, and Lucid's must not: one test a fault."""

import lucid
from lucid import nn
import mlx.core as mx
import pytest

GOOD = lucid.ones(1, 6, 4, 4, 4)


def is_fresh(layer: nn.LazyConv3d) -> bool:
    return layer.in_channels is layer.weight is layer.bias is None


@pytest.mark.parametrize(
    "bad", [lucid.ones(1, 5, 2, 4, 4), lucid.ones(1, 5, 4, 4, 4, dtype="float16")]
)
def test_a_first_batch_that_fails_does_not_lock_the_channels(bad):
    layer = nn.LazyConv3d(4, 3)
    with pytest.raises((TypeError, ValueError)):
        layer(bad)
    assert is_fresh(layer)
    assert layer(GOOD).shape == (1, 4, 2, 2, 2)


def test_channels_that_groups_do_not_divide_leave_no_in_channels_behind():
    layer = nn.LazyConv3d(4, 3, groups=4)
    with pytest.raises(ValueError, match="`groups`"):
        layer(GOOD)
    assert is_fresh(layer)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.bfloat16(),
        lambda m: m.half(),
        lambda m: m.freeze(),
        lambda m: m.to("cpu"),
        lambda m: m.set_dtype(mx.float16),
    ],
)
def test_changes_before_the_first_call_do_not_raise(change):
    layer = nn.LazyConv3d(4, 3)
    change(layer)
    assert layer(GOOD.astype(layer["weight"].dtype)).shape == (1, 4, 2, 2, 2)


def test_loading_a_checkpoint_ends_the_laziness_with_the_right_channels():
    layer = nn.LazyConv3d(4, 3)
    layer.load_state_dict(nn.Conv3d(6, 4, 3).state_dict())
    assert layer.in_channels == 6
    assert not layer.has_uninitialized_params()


def test_a_load_of_the_weight_alone_does_not_wedge_the_layer():
    layer = nn.LazyConv3d(4, 3)
    weight = nn.Conv3d(6, 4, 3).weight
    layer.load_state_dict({"weight": weight}, strict=False)
    assert layer(GOOD).shape == (1, 4, 2, 2, 2)
    assert (layer.weight == weight).all()


@pytest.mark.parametrize("other", [nn.Conv3d(6, 4, 2), nn.Conv3d(6, 4, (3, 3, 1))])
def test_a_checkpoint_of_another_kernel_size_is_refused(other):
    layer = nn.LazyConv3d(4, 3)
    with pytest.raises(nn.StateDictError, match="weight: shape"):
        layer.load_state_dict(other.state_dict())
    assert is_fresh(layer)


def test_a_checkpoint_of_another_rank_is_refused():
    layer = nn.LazyConv3d(4, 3)
    with pytest.raises(nn.StateDictError, match="weight: shape"):
        layer.load_state_dict({"weight": mx.ones((4, 6, 3, 3)), "bias": mx.ones((4,))})
    assert is_fresh(layer)


def test_a_failed_strict_load_has_changed_nothing():
    model = nn.Sequential(nn.LazyConv3d(4, 3), nn.Conv3d(4, 2, 1))
    before = model[1].weight
    state = nn.Sequential(nn.Conv3d(6, 4, 3), nn.Conv3d(4, 2, 1)).state_dict()
    with pytest.raises(nn.StateDictError, match="unexpected"):
        model.load_state_dict(state | {"2.weight": mx.ones((1,))})
    assert is_fresh(model[0])
    assert model[1].weight is before
