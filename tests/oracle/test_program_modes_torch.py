"""Training and evaluation of networks, whichever mode they were exported in."""

from __future__ import annotations

import torch

from tests.oracle.test_program_habits_torch import ROWS, Net, close, load, ours, same


def test_a_norm_without_running_statistics_takes_the_batch_s_in_both_modes(tmp_path):
    norm = torch.nn.BatchNorm1d(4, track_running_stats=False)
    network = Net(lambda net, x: net.norm(net.l(x)), norm=norm).eval()
    program = same(network, (ROWS,), tmp_path)
    assert close(program.eval()(ours(ROWS)), network(ROWS))


def test_a_dropout_that_is_off_does_not_hide_that_the_export_was_for_training(tmp_path):
    def run(net, x):
        return net.norm(torch.nn.functional.dropout(net.l(x), 0.5, training=False))

    network = Net(run, norm=torch.nn.BatchNorm1d(4))
    program = same(network, (ROWS,), tmp_path)
    assert program.exported_in_training
    assert close(program.eval()(ours(ROWS)), network.eval()(ROWS))


def test_attention_drops_only_in_training(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.TransformerEncoderLayer(4, 2, 8, 0.5, batch_first=True)
    x = ROWS[None]
    program = load(network, (x,), tmp_path)
    assert not close(program(ours(x)), network.eval()(x))
    assert close(program.eval()(ours(x)), network.eval()(x))
