"""`python -m lucid.program`."""

from __future__ import annotations

from pathlib import Path

import lucid
from lucid.program.__main__ import main
import pytest

DATA = Path(__file__).parents[1] / "data"


def test_it_describes_a_program_and_saves_its_weights(tmp_path, capsys):
    path = tmp_path / "weights.npz"
    options = ["--size", "2,1,8,8,8", "--npz", str(path)]
    assert main([str(DATA / "attention.pt2"), *options]) == 0
    shown = capsys.readouterr().out
    assert "parameters  280 in 5 arrays" in shown
    assert "aten.conv3d.default" in shown
    assert "163,840" in shown  # multiply-adds, counted by hand
    net = lucid.load_program(DATA / "attention.pt2")
    assert lucid.load(path).keys() == net.state_dict().keys()


def test_a_file_that_cannot_be_loaded_is_one_message(tmp_path, capsys):
    assert main([str(tmp_path / "missing.pt2")]) == 1
    assert main([str(DATA / "unet.npz")]) == 1
    assert "no exported program" in capsys.readouterr().err


def test_a_size_that_is_none_is_refused_at_once(capsys):
    with pytest.raises(SystemExit):
        main([str(DATA / "unet.pt2"), "--size", "1x2"])
    assert "--size" in capsys.readouterr().err


def test_a_size_that_the_program_cannot_take_is_one_message(capsys):
    with pytest.raises(SystemExit):
        main([str(DATA / "attention.pt2"), "--size", "1,1"])
    assert "--size: " in capsys.readouterr().err
