"""Train a lazily built 3-D network to clean a brain scan, and measure how well it does.

    python examples/denoise_mri.py                        # the scan nibabel carries
    python examples/denoise_mri.py --volume mine.nii.gz   # your own, 3-D or 4-D
    mlx.launch -n 2 -- python examples/denoise_mri.py     # two processes share the work

The network learns from patches of one part of the scan, with noise added afresh to
each, and is measured on the whole of the other part: the second repeat of a 4-D scan,
the other half of a 3-D one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import itertools
from pathlib import Path
import sys
from typing import Any

import lucid
from lucid import distributed, nn, optim
import mlx.core as mx
import mlx.nn
import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))

from volumes import Scan, VolumeError, extended, load_scan, save_nifti, save_picture

PATCH = 16  # voxels along each axis
STEPS = 100  # steps an epoch


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


def best_gaussian(noisy: np.ndarray, clean: np.ndarray) -> tuple[float, np.ndarray]:
    """The Gaussian filter that comes closest to the clean scan, chosen by looking."""
    filtered = {w: gaussian_filter(noisy, w) for w in np.arange(0.3, 2.01, 0.05)}
    width = max(filtered, key=lambda w: -np.square(filtered[w] - clean).mean())
    return float(width), filtered[width]


def score(clean: np.ndarray, volume: np.ndarray) -> tuple[float, float]:
    """PSNR in dB and SSIM, for intensities from 0 to 1."""
    psnr = peak_signal_noise_ratio(clean, volume, data_range=1)
    window = min(7, (min(clean.shape) - 1) // 2 * 2 + 1)
    if window < 3:
        return psnr, float("nan")  # too thin a scan for SSIM's window
    ssim: Any = structural_similarity(clean, volume, data_range=1, win_size=window)
    return psnr, float(ssim)


def evaluate(model: Denoiser, scan: Scan, noise: float, out: Path, seed: int) -> None:
    """Measure on the part the model never saw, save everything, print a table."""
    clean = scan.test
    rng = np.random.default_rng((seed, 1))
    noisy = clean + noise * rng.standard_normal(clean.shape, np.float32)
    width, smoothed = best_gaussian(noisy, clean)
    denoised = denoise(model, noisy)

    weights = out / "weights.npz"
    lucid.save(model.state_dict(), weights)
    fresh = Denoiser()  # lazy again: the file tells it its channels
    fresh.load_state_dict(lucid.load(weights))
    same = np.array_equal(denoise(fresh, noisy), denoised)

    save_nifti(scan, denoised, out / "denoised.nii.gz")
    save_nifti(scan, noisy, out / "noisy.nii.gz")
    volumes = {"clean": clean, "noisy": noisy, "denoised": denoised}
    save_picture(scan, volumes, out / "slices.png")

    print(f"\n{'':26}   PSNR    SSIM   (the test part, {clean.shape} voxels)")
    rows = {
        "noisy scan": noisy,
        f"Gaussian filter, s = {width:.2f}": smoothed,
        "network": denoised,
    }
    for name, volume in rows.items():
        psnr, ssim = score(clean, volume)
        print(f"{name:26} {psnr:5.2f} dB  {ssim:.3f}")
    print(f"\nweights loaded into a fresh lazy network: same output {same}")
    print("written: " + ", ".join(str(path) for path in sorted(out.iterdir())))


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
        evaluate(model, scan, args.noise, args.out, args.seed)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--volume", type=Path, help="a NIfTI scan (or any nibabel reads), 3-D or 4-D")
    add("--epochs", type=_positive, default=6, help=f"of {STEPS} steps each")
    add("--batch", type=_positive, default=2, help="patches a step, over all processes")
    add("--noise", type=_noise, default=0.1, help="sigma, of the intensity range")
    add("--device", choices=["cpu", "gpu", "metal"], help="default: MLX's")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("out/denoise_mri"), help="folder for results")
    return parser.parse_args(argv)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not 1 or more")
    return value


def _noise(text: str) -> float:
    value = float(text)
    if not 0 < value < 10:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 10")
    return value


if __name__ == "__main__":
    sys.exit(main())
