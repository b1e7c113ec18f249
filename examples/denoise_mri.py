"""Train a lazily built 3-D network to clean a brain scan, and measure how well it does.

    python examples/denoise_mri.py                        # nibabel's example scan
    python examples/denoise_mri.py --volume mine.nii.gz   # your own, 3-D or 4-D
    mlx.launch -n 2 -- python examples/denoise_mri.py     # two processes share the work

The network learns from patches of one part of the scan, with new noise added to each,
and is measured on the whole other part: the second repeat of a 4-D scan, the other half
of a 3-D one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import itertools
from pathlib import Path
import sys
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import command_line

if __name__ == "__main__":
    command_line.begin()

import lucid  # before mlx, to bring it a fast BLAS on Linux
from lucid import distributed, nn, optim
import mlx.core as mx
import mlx.nn
import numpy as np
from tqdm import tqdm
from volumes import Scan, VolumeError, extended, load_scan, save_nifti, save_picture

PATCH = 16  # voxels along each axis
STEPS = 100  # steps an epoch
WEIGHTS = "weights.npz"


class Block(nn.Module):
    """A depthwise convolution to look around, two pointwise ones to think."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LazyConv3d(
                channels,
                3,
                padding=dilation,
                dilation=dilation,
                groups=channels,
                padding_mode="reflect",
            ),
            nn.LazyConv3d(4 * channels, 1),
            nn.ReLU(),
            nn.LazyConv3d(channels, 1),
        )

    def forward(self, x: mx.array) -> mx.array:
        return x + self.layers(x)


class Denoiser(nn.Module):
    """Estimates the noise in a volume, (N, 1, D, H, W), and takes it away."""

    reach = 1 + 1 + 2 + 1  # voxels that an output looks to each side, layer by layer

    def __init__(self, channels: int = 12):
        super().__init__()
        same = {"padding": 1, "padding_mode": "reflect"}
        self.stem = nn.LazyConv3d(channels, 3, **same)
        self.blocks = nn.Sequential(Block(channels, 1), Block(channels, 2))
        self.head = nn.LazyConv3d(1, 3, **same)

    def forward(self, noisy: mx.array) -> mx.array:
        return noisy - self.head(self.blocks(self.stem(noisy)))


def draw_batch(
    volume: np.ndarray, count: int, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random patches, randomly flipped, without and with noise: (N, 1, D, H, W)."""
    size = np.minimum(PATCH, volume.shape)
    patches = []
    for _ in range(count):
        corner = rng.integers(0, np.array(volume.shape) - size, endpoint=True)
        patch = volume[tuple(map(slice, corner, corner + size))]
        flips = tuple(axis for axis in range(3) if rng.random() < 0.5)
        patches.append(np.flip(patch, flips))
    clean = np.stack(patches)[:, None]
    return clean, clean + noise * rng.standard_normal(clean.shape, np.float32)


def train(model: Denoiser, scan: Scan, args: argparse.Namespace) -> None:
    """Fit the model; Ctrl-C ends it early and keeps what was learned."""
    group = mx.distributed.init()
    own = slice(group.rank(), None, group.size())
    volume, rng = extended(scan.train), np.random.default_rng(args.seed)
    steps = args.epochs * STEPS
    rate = optim.join_schedules(
        [optim.linear_schedule(1e-4, 5e-3, 50), optim.cosine_decay(5e-3, steps)], [50]
    )
    optimizer = optim.Adam(rate, betas=[0.9, 0.95], bias_correction=True)

    # The first call makes the weights: here from a shape, the same on every process.
    distributed.materialize(model, (1, 1, *np.minimum(PATCH, volume.shape).tolist()))
    nn.init.zeros_(model.head.weight)  # at first, take nothing away

    def loss_fn(noisy: mx.array, clean: mx.array) -> mx.array:
        return (model(noisy) - clean).square().mean()

    loss_and_grad = nn.value_and_grad(model, loss_fn)

    def step(noisy: mx.array, clean: mx.array) -> mx.array:
        loss, grads = loss_and_grad(noisy, clean)
        optimizer.update(model, mlx.nn.average_gradients(grads))
        return mx.distributed.all_sum(loss) / group.size()

    bar = tqdm(range(steps), desc="training", unit="step", disable=group.rank() > 0)
    smooth = None
    try:
        for _ in bar:
            clean, noisy = draw_batch(volume, args.batch, args.noise, rng)
            loss = step(mx.array(noisy[own]), mx.array(clean[own]))
            mx.eval(loss, model.state, optimizer.state)
            smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
            psnr = -10 * mx.log10(smooth).item()
            bar.set_postfix(loss=f"{smooth.item():.5f}", PSNR=f"{psnr:.1f} dB")
    except KeyboardInterrupt:
        bar.close()
        print("stopped: going on with the weights so far", file=sys.stderr)


def denoise(model: Denoiser, noisy: np.ndarray, tile: int = 64) -> np.ndarray:
    """Clean a whole volume, (D, H, W), a tile at a time so that any size fits.

    Each tile is computed with as many voxels around it as its outputs look at, which
    makes the result that of the whole volume at once.
    """
    volume = extended(noisy)
    clean = np.empty_like(volume)
    for start in itertools.product(*(range(0, n, tile) for n in volume.shape)):
        inner = [
            slice(a, min(a + tile, n)) for a, n in zip(start, volume.shape, strict=True)
        ]
        outer = tuple(
            slice(max(0, s.start - model.reach), s.stop + model.reach) for s in inner
        )
        output = np.array(model(mx.array(volume[outer])[None, None])[0, 0])
        local = tuple(
            slice(s.start - o.start, s.stop - o.start)
            for s, o in zip(inner, outer, strict=True)
        )
        clean[tuple(inner)] = output[local]
    return clean[tuple(map(slice, noisy.shape))]


def psnr(clean: np.ndarray, volume: np.ndarray) -> float:
    """Peak signal to noise in dB, for intensities from 0 to 1."""
    from skimage.metrics import peak_signal_noise_ratio

    return float(peak_signal_noise_ratio(clean, volume, data_range=1))


def ssim(clean: np.ndarray, volume: np.ndarray) -> float:
    """Structural similarity; nan for a scan too thin for its window."""
    from skimage.metrics import structural_similarity

    window = min(7, (min(clean.shape) - 1) // 2 * 2 + 1)
    if window < 3:
        return float("nan")
    value: Any = structural_similarity(clean, volume, data_range=1, win_size=window)
    return float(value)


def compare(scan: Scan, noisy: np.ndarray, denoised: np.ndarray) -> None:
    """Print how close each comes to the clean scan, everywhere and inside the head.

    The Gaussian filter is given its best width for each column, chosen by looking at
    the clean scan.
    """
    from scipy.ndimage import gaussian_filter

    clean = scan.test
    inside = clean > 0.05 * clean.max()
    blurred = [gaussian_filter(noisy, width) for width in np.arange(0.3, 2.01, 0.05)]
    rows = {
        "noisy scan": [noisy],
        "Gaussian filter at its best": blurred,
        "network": [denoised],
    }
    print(f"\n{'':28}{'PSNR':>10}{'SSIM':>8}{'PSNR inside':>14}")
    for name, volumes in rows.items():
        best = max(psnr(clean, volume) for volume in volumes)
        similar = max(ssim(clean, volume) for volume in volumes)
        within = max(psnr(clean[inside], volume[inside]) for volume in volumes)
        print(f"{name:28}{best:7.2f} dB{similar:8.3f}{within:11.2f} dB")
    if min(clean.shape) < 3:
        print("no SSIM: it compares windows of 3 voxels or more along every axis")
    share = inside.mean()
    print(f"on the {clean.shape} voxels of the test part, {share:.0%} of them inside")


def evaluate(model: Denoiser, scan: Scan, args: argparse.Namespace) -> None:
    """Measure on the part the model never saw, save everything, print a table."""
    rng = np.random.default_rng((args.seed, 1))
    noisy = scan.test + args.noise * rng.standard_normal(scan.test.shape, np.float32)
    denoised = denoise(model, noisy)
    compare(scan, noisy, denoised)

    fresh = Denoiser()  # lazy again: the file tells it its channels
    fresh.load_state_dict(lucid.load(args.out / WEIGHTS))
    same = np.array_equal(denoise(fresh, noisy), denoised)
    print(f"\nweights loaded into a fresh lazy network: same output {same}")

    save_nifti(scan, denoised, args.out / "denoised.nii.gz")
    save_nifti(scan, noisy, args.out / "noisy.nii.gz")
    volumes = {"clean": scan.test, "noisy": noisy, "denoised": denoised}
    save_picture(scan, volumes, args.out / "slices.png")
    print("written: " + ", ".join(str(path) for path in sorted(args.out.iterdir())))


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    group = mx.distributed.init()
    try:
        if args.batch % group.size():
            raise VolumeError(
                f"--batch {args.batch} cannot be shared by {group.size()}"
            )
        if args.device is not None:
            device = mx.Device(mx.cpu if args.device == "cpu" else mx.gpu)
            if not mx.is_available(device):
                raise VolumeError(f"--device {args.device}: this machine has none")
            mx.set_default_device(device)
        scan = load_scan(args.volume)
        args.out.mkdir(parents=True, exist_ok=True)
    except (VolumeError, OSError) as error:
        print(f"denoise_mri: {error}", file=sys.stderr)
        return 1
    lucid.manual_seed(args.seed)
    model = Denoiser()
    if group.rank() == 0:
        print(f"{args.volume or 'the scan that nibabel carries'}: {scan.split}")
    train(model, scan, args)
    if group.rank() == 0:
        lucid.save(model.state_dict(), args.out / WEIGHTS)
        evaluate(model, scan, args)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about = (__doc__ or "").splitlines()[0]
    parser = command_line.Parser(prog="denoise_mri", description=about)
    add, natural = parser.add_argument, command_line.whole(1)
    noise = command_line.between(0, 10)
    add("--volume", type=Path, help="a scan that nibabel reads, 3-D or 4-D")
    add("--epochs", type=natural, default=6, help=f"{STEPS} steps each (default: 6)")
    add(
        "--batch",
        type=natural,
        default=2,
        help="patches a step, in all processes (default: 2)",
    )
    add("--noise", type=noise, default=0.1, help="sigma of the noise (default: 0.1)")
    add("--device", choices=["cpu", "gpu", "metal"], help="default: MLX's")
    add(
        "--seed", type=command_line.whole(0), default=0, help="random seed (default: 0)"
    )
    add("--out", type=Path, default=Path("out/denoise_mri"), help="folder for results")
    return parser.parse_args(argv)


if __name__ == "__main__":
    command_line.run(main)
