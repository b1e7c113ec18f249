"""Train a 3-D U-Net to tell gray from white matter, with exact resume.

    python examples/segment_tissue.py                    # a template, fetched once
    python examples/segment_tissue.py --resume           # after Ctrl-C, or worse
    python examples/segment_tissue.py --data folder      # your own NIfTI files
    python examples/segment_tissue.py --data organmnist3d.npz
    mlx.launch -n 2 -- python examples/segment_tissue.py --batch 4

The template is the MNI152 brain, an average of 152 people, with maps of its tissues,
from nilearn (BSD license). A folder holds `images` and `labels` of the same names, or
is laid out as nnU-Net's. `segment_training.py` has the network and its training, the
other `segment_*.py` files have data, patches, checkpoint and results.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import math
import os
from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

# MKL's sums may depend on where in memory an array lies, unless told not to before it
# is loaded. A run that goes on in another process must find the same sums.
if "mlx.core" not in sys.modules:
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    # Slow to import, so once the arguments are known to be good.
    import lucid
    from segment_data import load_data
    from segment_training import Training, rank, test, use_device
    from volumes import VolumeError

    try:
        use_device(args.device)
        data = load_data(args.data, args.spacing)
        args.out.mkdir(parents=True, exist_ok=True)
        training = Training(data, args)
        if rank() == 0:
            print(data.about)
        training.run()
        if rank() == 0:
            test(training)
    except (VolumeError, lucid.CheckpointError, OSError) as error:
        print(f"segment_tissue: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped: --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about = (__doc__ or "").splitlines()[0]
    parser = command_line.Parser(prog="segment_tissue", description=about)
    count, positive = command_line.whole(1), command_line.between(0, math.inf)
    add = parser.add_argument
    add("--data", type=_present, help="a folder of NIfTI files, or MedMNIST-3D's .npz")
    add("--out", type=Path, default=Path("out/segment_tissue"), help="folder to write")
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    add(
        "--steps", type=count, default=400, help="updates of the weights (default: 400)"
    )
    add(
        "--every",
        type=count,
        default=50,
        help="steps between checkpoints (default: 50)",
    )
    add(
        "--batch",
        type=count,
        default=2,
        help="patches a step, over all processes (default: 2)",
    )
    add("--patch", type=_patch, default=32, help="voxels along each axis (default: 32)")
    add("--rate", type=positive, default=0.1, help="first learning rate (default: 0.1)")
    mm = command_line.between(0.01, 100)
    add("--spacing", type=mm, help="voxel in mm to work in; default: the files'")
    add("--seed", type=command_line.whole(0), default=0)
    add("--device", choices=["cpu", "gpu", "metal"], help="default: MLX's")
    add("--bf16", action="store_true", help="compute in bfloat16; weights stay float32")
    add("--compile", action="store_true", help="run the step through mx.compile")
    saved = "recompute activations for the gradient: less memory, more time"
    add("--checkpoint", action="store_true", help=saved)
    parts = "work through a batch in so many parts: less memory, the same step"
    add("--accumulate", type=count, default=1, help=parts)
    args = parser.parse_args(argv)
    if args.batch % args.accumulate:
        parser.error(f"--batch {args.batch} cannot be cut in {args.accumulate} parts")
    return args


def _present(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no {text}")
    return path


def _patch(text: str) -> int:
    size = command_line.whole(16)(text)
    if size % 8:
        raise argparse.ArgumentTypeError(f"{text} is not 16, 24, 32, 40 ...")
    return size


if __name__ == "__main__":
    command_line.run(main)
