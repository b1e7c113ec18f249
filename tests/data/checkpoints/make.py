"""Writes the archives beside it with PyTorch (2.13), from tests/files/pytorch.

python -m tests.data.checkpoints.make
"""

from __future__ import annotations

import io
import sys
import types
from typing import Any
import warnings
import zipfile

import numpy as np
import torch

from tests.files.pytorch import BFLOAT16, CHECKPOINTS, PLANS, SCRIPT, STATE


class Settings(dict):
    """A class that no reader can know, as trainers leave them in checkpoints."""


class Callback:
    def __init__(self, patience: int):
        self.patience = patience


class Block(torch.nn.Module):
    """Parameters, buffers, a tensor that is neither, and a module of two names."""

    def __init__(self) -> None:
        super().__init__()
        layers = [torch.nn.Conv3d(1, 2, 1), torch.nn.BatchNorm3d(2)]
        self.layers = torch.nn.Sequential(*layers)
        self.again = self.layers[0]
        self.register_buffer("scale", torch.full((2,), 3.0))
        self.register_parameter("absent", None)
        self.constant = torch.ones(2)
        self.sizes = [1, 2]
        for name, tensor in self.state_dict().items():
            numbers = torch.from_numpy(SCRIPT[name.replace("again", "layers.0")])
            tensor.copy_(numbers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x) * self.scale[0] + self.constant.sum()
        return y * self.sizes[1]


def state() -> dict[str, torch.Tensor]:
    tensors = {name: torch.from_numpy(array.copy()) for name, array in STATE.items()}
    return tensors | {"bfloat16": torch.tensor(BFLOAT16, dtype=torch.bfloat16)}


def views() -> dict[str, torch.Tensor]:
    base = torch.arange(24.0).reshape(4, 6)
    complex_numbers = torch.tensor([1 + 2j, 3 - 4j])
    return {
        "base": base,
        "row": base[2],
        "column": base[:, 1],
        "transposed": base.T,
        "every second": base[::2, 1::3],
        "expanded": base[:, :1].expand(4, 5),
        "same": base,
        "conjugate": complex_numbers.conj(),
        "negative": complex_numbers.clone().conj().imag,
    }


def nested() -> dict[str, Any]:
    """As trainers save: what nnU-Net and Lightning put in, and more kinds."""
    model = torch.nn.BatchNorm3d(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.25)
    model(torch.ones(1, 2, 1, 1, 2)).sum().backward()
    optimizer.step()
    return {
        "network_weights": model.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "current_epoch": 3,
        "_best_ema": np.float64(0.5),
        "logging": {"losses": [np.float32(0.25), np.int64(7)], "done": np.bool_(True)},
        "init_args": {"plans": PLANS},
        "kinds": [torch.float16, np.dtype("float32"), np.float64],
        "device": torch.device("cuda", 1),
        "size": torch.Size([2, 3]),
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "text": np.str_("text"),
        "array": np.arange(4).reshape(2, 2),
        "fortran": np.asfortranarray(np.arange(4.0).reshape(2, 2)),
        "big-endian": np.arange(3, dtype=">i4"),
        "complex": 1 + 2j,
    }


def save(name: str, value: Any, **options: Any) -> None:
    torch.save(value, CHECKPOINTS / name, **options)


def save_all_formats(stem: str, value: Any) -> None:
    save(f"{stem}.pt", value)
    save(f"{stem}_protocol5.pt", value, pickle_protocol=5)
    save(f"{stem}_legacy.pth", value, _use_new_zipfile_serialization=False)


def save_big_endian() -> None:
    """As a big-endian machine writes it."""
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(3.0), "i": torch.arange(3)}, buffer)
    with (
        zipfile.ZipFile(buffer) as source,
        zipfile.ZipFile(CHECKPOINTS / "big_endian.pt", "w") as target,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            elif "/data/" in name:
                size = 4 if name.endswith("/0") else 8
                items = [data[i : i + size][::-1] for i in range(0, len(data), size)]
                data = b"".join(items)
            target.writestr(name, data)


def main() -> None:
    torch.manual_seed(0)
    save_all_formats("state", state())
    save_all_formats("views", views())
    save_all_formats("nested", nested())
    save_big_endian()
    sys.modules["trainer"] = trainer = types.ModuleType("trainer")
    for kind in (Settings, Callback):
        kind.__module__ = "trainer"
        setattr(trainer, kind.__name__, kind)
    settings = Settings(lr=0.5, weights=torch.ones(2))
    unknown = {
        "state_dict": {"w": torch.ones(3)},
        "hyper_parameters": settings,
        "callbacks": [Callback(5)],
        "kind": Callback,
    }
    save("unknown.ckpt", unknown)
    save("unknown_legacy.ckpt", unknown, _use_new_zipfile_serialization=False)
    save("sparse.pt", {"layer": {"w": torch.eye(2).to_sparse()}})
    save(
        "quantized.pt",
        {"w": torch.quantize_per_tensor(torch.ones(2), 1, 0, torch.qint8)},
    )
    save("meta.pt", {"w": torch.ones(2, device="meta")})
    save("nested_tensor.pt", {"w": torch.nested.nested_tensor([torch.ones(2)])})
    save("float8.pt", {"w": torch.ones(2).to(torch.float8_e4m3fn)})
    save("complex128.pt", {"w": torch.ones(2, dtype=torch.complex128)})
    save("storage.pt", {"w": torch.ones(2).untyped_storage()})
    save("whole_model.pt", torch.nn.Linear(2, 1))
    block = Block().eval()
    torch.jit.script(block).save(CHECKPOINTS / "script.pt")
    torch.jit.trace(block, torch.ones(1, 1, 2, 2, 2)).save(CHECKPOINTS / "trace.pt")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, of what it will not keep
        main()
