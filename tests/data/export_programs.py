"""Makes the `.pt2` archives of this folder; needs PyTorch.

    python tests/data/export_programs.py

Beside each stands `<name>.npz`: inputs, and what PyTorch made of them.
"""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any
import zipfile

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent


class SmallUNet(nn.Module):
    """Convolutions, norms, a pool, both ways up, dropout, and a skip."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.PReLU()
        )
        self.pool = nn.MaxPool3d(2)
        self.bottom = nn.Sequential(
            nn.Conv3d(4, 4, 3, padding=1, groups=2),
            nn.InstanceNorm3d(4, affine=True),
            nn.LeakyReLU(inplace=True),
            nn.Dropout(0.5),
        )
        self.up = nn.ConvTranspose3d(4, 4, 2, 2)
        self.head = nn.Conv3d(12, 2, 1)

    def forward(self, x):
        high = self.down(x)
        low = self.bottom(self.pool(high))
        wide = nn.functional.interpolate(low, scale_factor=2, mode="trilinear")
        return self.head(torch.cat([high, self.up(low), wide], dim=1))


class InPlace(nn.Module):
    """Views written in place, constants, and nested inputs and outputs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv3d(1, 3, 1), nn.Conv3d(3, 3, 1)])
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)

    def forward(self, x, pair, *, options):
        for layer in self.layers:
            x = torch.relu_(layer(x))
        mask = torch.zeros(x.shape[2:])
        mask[1:3, :, 2:] = 3.0
        mask[0].fill_(1.0)
        mask.transpose(0, 1)[1] += 0.5
        y = x * mask * self.scale
        y[:, 0] += options["shift"]
        first, second = pair
        return {"y": y, "rest": (first - second, [y.mean(dim=(2, 3, 4))])}


class Attention(nn.Module):
    """Tokens of a volume of any size, attended to, and put back."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv3d(1, 8, 2, 2)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24, bias=False)

    def forward(self, x):
        y = self.patch(x)
        n, c, d, h, w = y.shape
        tokens = self.norm(y.flatten(2).transpose(1, 2))
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        weights = torch.softmax(torch.einsum("bic,bjc->bij", q, k) * c**-0.5, dim=-1)
        back = (weights @ v).transpose(1, 2).reshape(n, c, d, h, w)
        return y + torch.roll(back, (1, -1), (2, 4))


class Spectrum(nn.Module):
    """An operation that Lucid lacks, twice."""

    def forward(self, x):
        y = torch.fft.fftn(x, dim=(2, 3, 4))
        return torch.fft.ifftn(y * 2, dim=(2, 3, 4)).real + torch.fft.fftn(x).real


def small(path: io.BytesIO) -> dict[str, bytes]:
    """An archive's entries, without sample inputs, paths and PyTorch's own frames."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    kept = {k: v for k, v in entries.items() if "/sample_inputs/" not in k}
    (name,) = (k for k in kept if k.endswith("/models/model.json"))
    model = json.loads(kept[name])
    for node in model["graph_module"]["graph"]["nodes"]:
        frames = node["metadata"].get("stack_trace", "").split("  File ")
        own = [f for f in frames if Path(__file__).name in f]
        frame = own[-1].replace(f"{HERE}/", "").replace(str(HERE), "") if own else ""
        node["metadata"] = {"stack_trace": frame.strip()} if frame else {}
    kept[name] = json.dumps(model).encode()
    return kept


def write(
    name: str, network: nn.Module, args: Any, kwargs: Any, **options: Any
) -> None:
    buffer = io.BytesIO()
    program = torch.export.export(network, args, kwargs, **options)
    torch.export.save(program, buffer)
    entries = small(buffer)
    root = next(iter(entries)).split("/")[0]
    with zipfile.ZipFile(HERE / f"{name}.pt2", "w", zipfile.ZIP_STORED) as archive:
        for entry, data in entries.items():
            info = zipfile.ZipInfo(entry.replace(root, name, 1))
            archive.writestr(info, data)


def leaves(value: Any) -> list[np.ndarray]:
    found, _ = torch.utils._pytree.tree_flatten(value)
    return [leaf.detach().numpy() for leaf in found]


def main() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 1, 4, 6, 8)
    any_size = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO}
    any_size |= {3: torch.export.Dim.AUTO, 4: torch.export.Dim.AUTO}
    pair, options = [torch.tensor(3.0), torch.tensor(1.0)], {"shift": torch.tensor(0.5)}
    unet = SmallUNet()
    unet(x)  # running statistics that are no longer zeros and ones
    networks = [
        ("unet_training", copy.deepcopy(unet).train(), (x,), {}, {}),
        ("unet", unet.eval(), (x,), {}, {}),
        ("in_place", InPlace().eval(), (x, pair), {"options": options}, {}),
        ("attention", Attention().eval(), (x,), {}, {"dynamic_shapes": (any_size,)}),
        ("spectrum", Spectrum(), (x,), {}, {}),
    ]
    for name, network, args, kwargs, how in networks:
        state = {k: v.clone() for k, v in network.state_dict().items()}
        write(name, network, args, kwargs, **how)
        network.load_state_dict(state)
        network.eval()
        arrays = {f"in{i}": a for i, a in enumerate(leaves((args, kwargs)))}
        outputs = leaves(network(*args, **kwargs))
        arrays |= {f"out{i}": a for i, a in enumerate(outputs)}
        np.savez(HERE / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()
