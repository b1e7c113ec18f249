"""Ranks on loopback, started as users start them."""

import json
from pathlib import Path
import subprocess
import sys

import lucid
from lucid import distributed, nn
import pytest

from tests.launching import launcher

WORKER = Path(__file__).parent / "distributed_worker.py"


def launch(job: str, ranks: int = 2) -> list[dict]:
    """What each rank of `distributed_worker.py` printed, as JSON."""
    command = [sys.executable, str(WORKER), job]
    if ranks > 1:
        command = [*launcher(ranks), *command]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=WORKER.parents[1]
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == ranks, done.stdout + done.stderr
    return sorted(map(json.loads, lines), key=lambda report: report["rank"])


def test_one_process_needs_no_launcher():
    key = lucid.get_rng_state()
    model = distributed.materialize(nn.LazyConv3d(4, 3), (1, 2, 4, 4, 4))
    after = lucid.get_rng_state()
    lucid.set_rng_state(key)
    assert (model.weight == nn.Conv3d(2, 4, 3).weight).all()
    assert (lucid.get_rng_state() == after).all()


def test_weights_and_buffers_come_from_rank_0_whatever_the_seeds():
    first, second = launch("share")
    assert first["state"] == second["state"]
    assert first["buffer"] == second["buffer"] == [0.0]
    assert first["next_draw"] != second["next_draw"]


@pytest.mark.parametrize("job", ["bad_shape", "other_channels"])
def test_a_rank_that_fails_fails_all_and_hangs_none(job):
    first, second = launch(job)
    assert first["error"]
    assert second["error"]
    assert first["lazy"]
    assert second["lazy"]


def test_two_ranks_train_as_one_with_the_same_global_batch():
    (alone,) = launch("train", ranks=1)
    first, second = launch("train")
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert alone["losses"][-1] < 0.9 * alone["losses"][0]
    assert first["state"] == pytest.approx(alone["state"], rel=1e-4, abs=1e-6)
