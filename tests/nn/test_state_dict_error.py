"""What a StateDictError says: all mismatches, shortly, and what may be meant."""

from __future__ import annotations

from lucid import nn
import mlx.core as mx
import pytest


def make(count: int = 2) -> nn.Sequential:
    return nn.Sequential(*(nn.Conv3d(1, 1, 1) for _ in range(count)))


def error(model, state) -> nn.StateDictError:
    with pytest.raises(nn.StateDictError) as caught:
        model.load_state_dict(state)
    return caught.value


def test_long_lists_are_shortened_and_kept():
    caught = error(make(20), {"more": mx.ones(1)})
    text = str(caught)
    assert text.count(": missing") == 10
    assert "... and 30 more missing" in text
    assert "more: unexpected" in text
    assert len(caught.problems) == 41


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "network.", "module.net."]
)
def test_a_common_prefix_is_named(prefix):
    state = {prefix + name: array for name, array in make().state_dict().items()}
    assert f"begin with '{prefix}'" in str(error(make(), state))
    assert f"begin with '{prefix}'" in str(error(make(), state | {"loss": mx.ones(1)}))


def test_a_prefix_of_the_model_is_named():
    outer = nn.ModuleDict({"net": make()})
    assert "get_submodule('net')" in str(error(outer, make().state_dict()))


def test_other_names_get_no_hint():
    assert "begin with" not in str(error(make(), {"encoder.weight": mx.ones(1)}))


def test_a_whole_checkpoint_is_recognized():
    text = str(error(make(), {"epoch": 3, "network_weights": make().state_dict()}))
    assert "state_dict['network_weights']" in text


def test_another_dtype_names_the_ways():
    text = str(error(make().half(), make().state_dict()))
    for way in ("model.half()", "value.astype(dtype)", "cast=True"):
        assert way in text
