"""A name of PyTorch's that `lucid` lacks: the error says what takes its place."""

from __future__ import annotations

import lucid
import pytest


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("where", "mlx.core.where"),
        ("argmax", "mlx.core.argmax"),
        ("compile", "mlx.core.compile"),
        ("no_grad", "value_and_grad"),
        ("device", "default"),
        ("utils", "DataLoader"),
        ("autocast", "bfloat16"),
        ("clamp", "mlx.core.clip"),
        ("randn_like", "lucid.randn"),
    ],
)
def test_what_takes_the_place_is_named(name, hint):
    with pytest.raises(AttributeError, match=f"'lucid' has no attribute '{name}'") as e:
        getattr(lucid, name)
    assert hint in str(e.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("lr_scheduler", "cosine_decay"), ("swa_utils", "Average"), ("LBFGS", "")],
)
def test_optimizers_too(name, hint):
    with pytest.raises(AttributeError, match=rf"'lucid.optim' .* '{name}'\.") as e:
        getattr(lucid.optim, name)
    assert hint in str(e.value)


@pytest.mark.parametrize("name", ["nothing_like_it", "_where", "__array__", "Device"])
def test_nothing_is_guessed_of_other_names(name):
    with pytest.raises(AttributeError, match=rf"'{name}'\.$"):
        getattr(lucid, name)
    assert not hasattr(lucid, name)
