"""`lucid.autotune` and LUCID_AUTOTUNE."""

from __future__ import annotations

import lucid
from lucid import tuning
import lucid.nn.functional as F
import pytest


def test_a_context_switches_back():
    with lucid.autotune():
        assert tuning.enabled()
        with lucid.autotune(False):
            assert not tuning.enabled()
        assert tuning.enabled()
    assert not tuning.enabled()


def test_a_context_switches_back_after_an_exception_too():
    with pytest.raises(KeyError), lucid.autotune(True):
        raise KeyError
    assert not tuning.enabled()


@pytest.mark.parametrize("value", ["yes", 2, None, 1.0], ids=repr)
def test_what_is_no_bool_is_refused_and_changes_nothing(value):
    with pytest.raises(TypeError, match="`enabled`"):
        lucid.autotune(value)
    assert not tuning.enabled()


@pytest.mark.parametrize(
    ("value", "on"),
    [
        *[(value, False) for value in ("", "0", "off", "False", "no")],
        *[(value, True) for value in ("1", "on", "TRUE", "yes")],
    ],
)
def test_the_variable_is_asked_at_every_call_until_the_program_decides(
    monkeypatch, value, on
):
    assert not tuning.enabled()
    monkeypatch.setenv("LUCID_AUTOTUNE", value)
    assert tuning.enabled() is on
    with lucid.autotune(not on):
        assert tuning.enabled() is not on


def test_a_variable_that_is_neither_yes_nor_no_is_an_error_naming_it(monkeypatch):
    monkeypatch.setenv("LUCID_AUTOTUNE", "perhaps")
    x, w = lucid.ones(1, 1, 3, 3, 3), lucid.ones(1, 1, 3, 3, 3)
    with pytest.raises(ValueError, match=r"`LUCID_AUTOTUNE` \(='perhaps'\) must be"):
        F.conv3d(x, w)
    with lucid.autotune(False):
        F.conv3d(x, w)
