"""Checkpoints that this PyTorch writes, in all its formats, against what it reads."""

from __future__ import annotations

from collections import OrderedDict
import importlib
from pathlib import Path
from typing import Any

import lucid
import mlx.core as mx
import numpy as np
import pytest
import torch

FORMATS: dict[str, dict[str, Any]] = {
    "zip": {},
    "legacy": {"_use_new_zipfile_serialization": False},
    **{f"protocol {n}": {"pickle_protocol": n} for n in (3, 4, 5)},
    "legacy, protocol 4": {
        "_use_new_zipfile_serialization": False,
        "pickle_protocol": 4,
    },
}
DTYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
)


pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch",
    "ignore::FutureWarning:torch",
    "ignore::torch.jit.TracerWarning",
)


@pytest.fixture(params=FORMATS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return FORMATS[request.param]


def both(path: Path, of: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """What Lucid reads, and what PyTorch reads."""
    torch.save(of, path, **options)
    return lucid.load(path), torch.load(path, weights_only=False)


def assert_same(got: Any, want: Any):
    """Equal structures; a tensor equals its array in dtype, shape and every bit."""
    if isinstance(want, torch.Tensor):
        assert isinstance(got, mx.array)
        assert str(got.dtype).split(".")[-1] == str(want.dtype).split(".")[-1]
        assert got.shape == tuple(want.shape)
        assert bits(got) == bits(want.detach().resolve_conj().resolve_neg())
    elif isinstance(want, dict):
        assert list(got) == list(want)
        for key in want:
            assert_same(got[key], want[key])
    elif isinstance(want, list | tuple):
        assert type(got) is (tuple if isinstance(want, torch.Size) else type(want))
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            assert_same(one, other)
    else:
        assert got == want


def bits(of: Any) -> bytes:
    if isinstance(of, mx.array):
        return np.array(of.reshape(-1).view(mx.uint8)).tobytes()
    rows = torch.empty(of.shape, dtype=of.dtype).copy_(of)
    return rows.reshape(-1).view(torch.uint8).numpy().tobytes()


def special(dtype: torch.dtype) -> torch.Tensor:
    if dtype.is_floating_point or dtype.is_complex:
        numbers = [0.1, -0.0, float("inf"), float("nan"), -3.0, 1e-7]
        return torch.tensor(numbers, dtype=torch.float64).to(dtype)
    return torch.tensor([0, 1, 2, 3, 100, 7]).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back(
    dtype: torch.dtype, options: dict[str, Any], tmp_path: Path
):
    unsigned = dtype in (torch.uint16, torch.uint32, torch.uint64)
    if unsigned and "_use_new_zipfile_serialization" in options:
        pytest.skip("PyTorch cannot write it")
    flat = special(dtype)
    state = {
        "flat": flat,
        "0-d": flat[3].clone(),
        "empty": torch.zeros((0, 3), dtype=dtype),
        "view": flat[1:5:2],
        "matrix": flat.reshape(2, 3).T,
        "copied matrix": flat.reshape(2, 3).T.clone(),
        "expanded": flat[2:3].expand(4),
        "last": flat[5],
    }
    assert_same(*both(tmp_path / "a.pt", state, options))


def test_random_views_come_back(options: dict[str, Any], tmp_path: Path):
    rng, base = np.random.default_rng(0), torch.arange(1000.0)
    views = []
    for _ in range(200):
        shape = rng.integers(0, 5, rng.integers(0, 5)).tolist()
        strides = rng.integers(0, 50, len(shape)).tolist()
        views.append(base.as_strided(shape, strides, int(rng.integers(0, 100))))
    assert_same(*both(tmp_path / "a.pt", views, options))


def test_channels_last_weights_come_back(options: dict[str, Any], tmp_path: Path):
    model = torch.nn.Conv3d(3, 4, 3).to(memory_format=torch.channels_last_3d)
    assert_same(*both(tmp_path / "a.pt", model.state_dict(), options))


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop"])
def test_what_a_trainer_saves_comes_back(
    optimizer: str, options: dict[str, Any], tmp_path: Path
):
    model = torch.nn.Sequential(
        torch.nn.Conv3d(1, 2, 3), torch.nn.BatchNorm3d(2), torch.nn.PReLU()
    ).train()
    trained = getattr(torch.optim, optimizer)(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.PolynomialLR(trained, 10)
    model(torch.ones(2, 1, 3, 3, 4)).sum().backward()
    trained.step()
    schedule.step()
    state = {
        "network_weights": model.state_dict(),
        "optimizer_state": trained.state_dict(),
        "schedule": schedule.state_dict(),
        "grad_scaler_state": torch.amp.GradScaler("cpu").state_dict(),
        "current_epoch": 3,
        "_best_ema": np.float64(0.25),
        "random": torch.get_rng_state(),
        "size": torch.Size([1, 2]),
        "names": ("a", ["b", None, True, -(2**60), 1.5]),
        "ordered": OrderedDict(x=torch.ones(1)),
    }
    assert_same(*both(tmp_path / "a.pt", state, options))


def test_tied_parameters_are_one_array(options: dict[str, Any], tmp_path: Path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[1].weight = model[0].weight
    got, _ = both(tmp_path / "a.pt", model.state_dict(), options)
    assert got["1.weight"] is got["0.weight"]
    assert got["1.bias"] is not got["0.bias"]


def test_parameters_and_tensors_with_attributes_come_back(
    options: dict[str, Any], tmp_path: Path
):
    tensor, parameter = torch.ones(2), torch.nn.Parameter(torch.ones(3))
    tensor.note = parameter.note = "kept by PyTorch alone"  # type: ignore[attr-defined]
    state = [torch.nn.Parameter(torch.ones(1)), tensor, parameter]
    assert_same(*both(tmp_path / "a.pt", state, options))


class Inner(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv3d(2, 2, 1, bias=False)
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("dropped", torch.ones(2), persistent=False)
        self.loose = torch.ones(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.loose.to(x.dtype) + self.dropped.sum()


class Outer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Inner()
        self.blocks = torch.nn.ModuleList([Inner(), torch.nn.BatchNorm3d(2)])
        self.named = torch.nn.ModuleDict({"a": torch.nn.InstanceNorm3d(2, affine=True)})
        self.shared = self.first.conv
        self.scale = torch.nn.Parameter(torch.ones(2, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shared(self.first(x)) * self.scale
        for block in self.blocks:
            x = block(x)
        return self.named["a"](x)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("way", ["script", "trace", "freeze"])
def test_torchscript_names_and_numbers_are_its_own(
    way: str, half: bool, tmp_path: Path
):
    model = Outer().eval()
    if half:
        model = model.bfloat16()
    dtype = torch.bfloat16 if half else torch.float32
    if way == "trace":
        scripted = torch.jit.trace(model, torch.ones(1, 2, 2, 2, 2, dtype=dtype))
    else:
        scripted = torch.jit.script(model)
    if way == "freeze":
        scripted = torch.jit.freeze(scripted)
    scripted.save(tmp_path / "a.pt")
    want = torch.jit.load(tmp_path / "a.pt").state_dict()
    assert_same(lucid.load(tmp_path / "a.pt"), dict(want))


def test_safetensors_of_its_own_library_are_read_and_written(tmp_path: Path):
    library = importlib.import_module("safetensors.torch")
    tensors = {str(dtype): special(dtype) for dtype in DTYPES if not dtype.is_complex}
    library.save_file(tensors, tmp_path / "a.safetensors", {"format": "pt"})
    loaded = lucid.load(tmp_path / "a.safetensors")
    assert_same(dict(sorted(loaded.items())), dict(sorted(tensors.items())))
    del loaded["torch.float64"]
    lucid.save(loaded, tmp_path / "b.safetensors")
    again = library.load_file(tmp_path / "b.safetensors")
    assert_same(dict(sorted(loaded.items())), dict(sorted(again.items())))
