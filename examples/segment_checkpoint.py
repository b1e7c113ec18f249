"""Stopping `segment_tissue.py` at any moment, and going on exactly.

A checkpoint is one file that holds all that the rest of a run depends on. It is written
beside the one before and takes its place at once, so that a kill at any moment leaves
the old or the new one, whole.
"""

from __future__ import annotations

from importlib.metadata import version
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lucid
from lucid import _cpu
import mlx.core as mx
from mlx.utils import tree_map_with_path
import numpy as np
from volumes import VolumeError

if TYPE_CHECKING:
    from segment_training import Training


def path_of(training: Training) -> Path:
    return training.args.out / "last.npz"


def save(training: Training) -> None:
    state = {
        "network": training.network.state_dict(),
        "optimizer": training.optimizer.state,
        "random": {
            "mlx": lucid.get_rng_state(),
            "patches": as_array(training.patches.bit_generator.state),
        },
        "losses": np.array(training.losses),
        "scores": np.array(training.scores),
        "settings": as_array(settings(training)),
        "autotune": lucid.get_autotune_state(),  # what LUCID_AUTOTUNE=1 has measured
    }
    lucid.save(state, path_of(training))


def resume(training: Training) -> None:
    """Go on from the last checkpoint; from the beginning, if there is none."""
    path = path_of(training)
    if not path.exists():
        if training.group.rank() == 0:
            print(f"{path.parent} has no checkpoint: starting from the beginning")
        return
    saved = read(path)
    check(training, from_array(saved["settings"]))
    of_network, start = {}, "network."
    for name, array in saved.items():
        if name.startswith(start):
            of_network[name.removeprefix(start)] = array
    training.network.load_state_dict(of_network)
    training.optimizer.state = tree_map_with_path(
        lambda name, _: saved[f"optimizer.{name}"], training.optimizer.state
    )
    lucid.set_autotune_state(saved["autotune"])
    lucid.set_rng_state(saved["random.mlx"])
    training.patches.bit_generator.state = from_array(saved["random.patches"])
    training.losses = np.array(saved["losses"]).tolist()
    training.scores = np.array(saved["scores"]).tolist()


def start_anew(training: Training) -> None:
    """Replace a run that came to its end, but not one that could still go on."""
    path = path_of(training)
    if not path.exists():
        return
    saved = read(path)
    done, steps = saved["losses"].size, from_array(saved["settings"])["steps"]
    if done < steps:
        raise VolumeError(
            f"{path.parent} has a run that stopped after step {done} of {steps}: "
            "--resume goes on, another --out starts anew"
        )
    mx.eval(mx.distributed.all_sum(mx.array(1)))  # every process has read it
    if training.group.rank() == 0:
        path.unlink()  # or a kill before the next checkpoint would resume the old run


def read(path: Path) -> dict[str, Any]:
    saved = lucid.load(path)
    if "settings" not in saved:
        raise VolumeError(f"{path} is no checkpoint of this script")
    return saved


def settings(training: Training) -> dict[str, Any]:
    """What must be the same for a resumed run to end as if it had not stopped.

    MKL's sums may depend on the number of threads, also where MKL_CBWR is set.
    """
    options = dict(vars(training.args))
    data = options["data"]
    threads = os.environ.get("MKL_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    return {
        **{k: v for k, v in options.items() if k not in ("out", "resume")},
        "data": None if data is None else str(data.resolve()),
        "processes": training.group.size(),
        "MLX": version("mlx"),
        "BLAS": os.path.basename(_cpu.blas or "none"),
        "threads": int(threads or os.cpu_count() or 1),
    }


def check(training: Training, begun: dict[str, Any]) -> None:
    """Refuse to go on with other options; on another machine, only say so."""
    for name, now in settings(training).items():
        if begun[name] == now:
            continue
        if name in vars(training.args):
            raise VolumeError(
                f"--{name} was {begun[name]} when this run began and is {now} now"
            )
        print(
            f"{name}: {begun[name]} when this run began, {now} now; the result may "
            "differ in its last bits"
        )


def as_array(value: Any) -> np.ndarray:
    """Plain values as bytes, as a file of arrays can hold them."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def from_array(array: mx.array) -> Any:
    return json.loads(bytes(np.array(array)))
