"""TorchScript archives: names and order of `torch.jit.load(...).state_dict()`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
import zipfile

import lucid
import pytest

from tests.files import refused
from tests.files.pytorch import CHECKPOINTS, SCRIPT, assert_same
from tests.files.pytorch.assemble import FLOATS, build, name, new, pickled, tensor

SOURCE = """class A(Module):
  __parameters__ = ["w", "absent", ]
  __buffers__ = ["b", ]
  w : Tensor
  def forward(self: __torch__.A) -> Tensor:
    return self.w
"""
A = name("__torch__", "A")


@pytest.mark.parametrize("kind", ["script", "trace"])
def test_the_state_dict_comes_back_in_its_order(kind: str):
    loaded = lucid.load(CHECKPOINTS / f"{kind}.pt")
    again = {f"again.{part}": SCRIPT[f"layers.0.{part}"] for part in ("weight", "bias")}
    assert list(loaded) == [*SCRIPT, *again]
    for full, array in (SCRIPT | again).items():
        assert_same(loaded[full], array)
    assert loaded["again.weight"] is loaded["layers.0.weight"]


def archive(opcodes: bytes, source: str = SOURCE, file: str = "__torch__.py") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("a/data.pkl", pickled(opcodes))
        target.writestr("a/constants.pkl", pickled(()))
        target.writestr("a/data/0", FLOATS["0"])
        target.writestr(f"a/code/{file}", source, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def module(**attributes: Any) -> bytes:
    return build(new(A), attributes)


def test_only_what_the_class_lists_is_in_the_state_dict(tmp_path: Path):
    tensors = {key: tensor((1,), (1,), i) for i, key in enumerate("xbw")}
    (tmp_path / "a").write_bytes(archive(module(absent=None, n=3, **tensors)))
    loaded = lucid.load(tmp_path / "a")
    assert {key: array.tolist() for key, array in loaded.items()} == {
        "w": [2.0],
        "b": [1.0],
    }


def test_in_old_archives_every_other_tensor_is_a_buffer(tmp_path: Path):
    source = SOURCE.replace('  __buffers__ = ["b", ]\n', "")
    tensors = {key: tensor((1,), (1,)) for key in "xbw"}
    (tmp_path / "a").write_bytes(archive(module(**tensors), source))
    assert list(lucid.load(tmp_path / "a")) == ["w", "x", "b"]


@pytest.mark.parametrize(
    ("data", "words"),
    {
        "no module": (
            archive(build(name("__torch__", "B") + b")\x81", {})),
            "no module",
        ),
        "no code": (archive(module(w=tensor()), file="other.py"), "no module"),
        "a dict": (archive(b"}"), "no module"),
        "module in itself": (
            archive(new(A) + b"q\x00}X\x01\x00\x00\x00mh\x00sb"),
            "contain themselves",
        ),
        "quantized": (
            archive(new(name("__torch__.torch.classes.quantized", "Conv3dPacked"))),
            "quantized weights",
        ),
        "system": (
            archive(name("posix", "system") + b"X\x01\x00\x00\x00a\x85R"),
            "posix",
        ),
        "another class of the archive called": (archive(A + b")R"), "no function"),
    }.values(),
)
def test_what_is_no_module_is_refused(data: bytes, words: str, tmp_path: Path):
    refused(tmp_path / "a", data, words)


def doubled(levels: int) -> bytes:
    """A module that holds another one twice, which does so too, and so on."""
    if levels == 0:
        return module(w=tensor((1,), (1,)))
    put, get = b"q" + bytes([levels]), b"h" + bytes([levels])
    return module(a=doubled(levels - 1) + put, b=get)


def test_modules_that_unfold_without_end_are_refused(tmp_path: Path):
    (tmp_path / "a").write_bytes(archive(doubled(3)))
    assert len(lucid.load(tmp_path / "a")) == 8
    refused(tmp_path / "a", archive(doubled(90)), "unfold without end")
