"""Export a network from PyTorch, run it without PyTorch, and train it further.

    pip install torch monai
    python examples/from_pytorch.py

The network is MONAI's UNet with random weights; `--pt2 FILE` takes your own exported
program, which is then only loaded, timed and trained. PyTorch exports in a separate
process, so that the rest runs as on a machine without it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

import lucid
from lucid import nn, optim
import mlx.core as mx
import numpy as np

EXPORT = """
import sys, time, warnings
import numpy as np, torch
from monai.networks.nets import UNet

warnings.simplefilter("ignore")
folder, size = sys.argv[1], int(sys.argv[2])
torch.manual_seed(0)
net = UNet(3, 1, 2, (16, 32, 64), (2, 2), num_res_units=2, norm="BATCH").eval()
x = torch.randn(1, 1, size, size, size)
any_size = dict.fromkeys((0, 2, 3, 4), torch.export.Dim.AUTO)
program = torch.export.export(net, (x,), dynamic_shapes=(any_size,))
torch.export.save(program, f"{folder}/net.pt2")
times = []
with torch.no_grad():
    for _ in range(5):
        begin = time.perf_counter()
        y = net(x)
        times.append(time.perf_counter() - begin)
np.savez(f"{folder}/pytorch.npz", x=x, y=y, milliseconds=1000 * sorted(times)[2])
"""


def main() -> None:
    about = (__doc__ or "").splitlines()[0]
    parser = command_line.Parser(prog="from_pytorch", description=about)
    natural = command_line.whole(1)
    parser.add_argument("--pt2", type=Path, help="your own exported program")
    parser.add_argument(
        "--size", type=natural, default=32, help="voxels an axis (default: 32)"
    )
    parser.add_argument(
        "--steps", type=natural, default=20, help="training steps (default: 20)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.pt2 or export(Path(folder), options.size)
        assert "torch" not in sys.modules
        try:
            net = lucid.load_program(path).eval()
        except (OSError, lucid.CheckpointError, NotImplementedError) as error:
            sys.exit(f"from_pytorch: {error}")
        print(net)
        recorded = Path(folder) / "pytorch.npz"
        if recorded.exists():
            compare(net, recorded)
    train(net, options.size, options.steps)


def export(folder: Path, size: int) -> Path:
    """Have PyTorch write `net.pt2`, and what it computes, in another process."""
    if not all(map(importlib.util.find_spec, ("torch", "monai"))):
        sys.exit("from_pytorch: to export, pip install torch monai; or give --pt2")
    command = [sys.executable, "-c", EXPORT, str(folder), str(size)]
    if subprocess.run(command).returncode:
        sys.exit("from_pytorch: PyTorch could not export the network")
    return folder / "net.pt2"


def compare(net: nn.Module, recorded: Path) -> None:
    with np.load(recorded) as arrays:
        x, want = mx.array(arrays["x"]), arrays["y"]
        theirs = float(arrays["milliseconds"])
    difference = np.abs(np.array(net(x)) - want).max()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        mx.eval(net(x))
        times.append(1000 * (time.perf_counter() - begin))
    print(
        f"largest difference {difference:.1e}, largest number {np.abs(want).max():.2f}"
    )
    print(f"Lucid {sorted(times)[2]:.0f} ms, PyTorch {theirs:.0f} ms")


def train(net: nn.Module, size: int, steps: int) -> None:
    """Teach it to find a ball: the loss falls, from the weights that were loaded."""
    axis = mx.arange(size) - size / 2
    radius = (axis**2)[:, None, None] + (axis**2)[:, None] + axis**2
    ball = (radius < (size / 4) ** 2).astype(mx.int32)[None]
    x = ball[:, None] + 0.5 * mx.random.normal((1, 1, size, size, size))
    net.train()
    loss = nn.CrossEntropyLoss()
    step = nn.value_and_grad(net, lambda x, target: loss(net(x), target))
    optimizer = optim.Adam(learning_rate=1e-2, bias_correction=True)
    for i in range(steps):
        value, gradients = step(x, ball)
        optimizer.update(net, gradients)
        mx.eval(net.state, optimizer.state)
        if i in (0, steps - 1):
            print(f"step {i + 1:3d}: loss {value.item():.4f}")


if __name__ == "__main__":
    command_line.run(main)
