"""Archives that are damaged, hostile, or of networks that Lucid cannot run."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import pickle
from typing import Any
import zipfile

import lucid
from lucid import nn
import mlx.core as mx
from mlx.utils import tree_flatten
import pytest

DATA = Path(__file__).parents[1] / "data"
MODEL = "unet/models/model.json"
WEIGHTS = "unet/data/weights/model_weights_config.json"


def changed(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], method: int = 0
) -> Path:
    """The U-Net's archive, its JSON parsed and its entries given to `change`."""
    with zipfile.ZipFile(DATA / "unet.pt2") as archive:
        entries: dict[str, Any] = {n: archive.read(n) for n in archive.namelist()}
    parsed = [name for name in entries if name.endswith(".json")]
    for name in parsed:
        entries[name] = json.loads(entries[name])
    change(entries)
    path = tmp_path / "changed.pt2"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            is_raw = isinstance(content, bytes)
            archive.writestr(name, content if is_raw else json.dumps(content))
    return path


def weight(entries: dict[str, Any]) -> dict[str, Any]:
    return entries[WEIGHTS]["config"]["head.weight"]


def nodes(entries: dict[str, Any]) -> list[Any]:
    return entries[MODEL]["graph_module"]["graph"]["nodes"]


def signature(entries: dict[str, Any]) -> dict[str, Any]:
    return entries[MODEL]["graph_module"]["signature"]


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no graph": (lambda e: e.pop(MODEL), "no exported program"),
    "no json": (lambda e: e.update({MODEL: b"{"}), "no JSON"),
    "a list": (lambda e: e.update({MODEL: b"[]"}), "no JSON object"),
    "nested": (lambda e: e.update({MODEL: b"[" * 10**6}), "no JSON"),
    "empty": (lambda e: e.update({MODEL: {}}), "schema None"),
    "schema": (
        lambda e: e[MODEL]["schema_version"].update(major=9),
        "schema.*export it again with PyTorch 2.8 or newer",
    ),
    "no weights": (lambda e: e.pop(WEIGHTS), "is missing"),
    "no bytes": (lambda e: e.pop("unet/data/weights/weight_0"), "lost its bytes"),
    "short": (
        lambda e: e.update({"unet/data/weights/weight_0": b"1234"}),
        r"claims \d+ elements, but has 1",
    ),
    "pickle": (lambda e: weight(e).update(use_pickle=True), "is a pickle"),
    "dtype": (lambda e: weight(e)["tensor_meta"].update(dtype=99), "dtype 99"),
    "sizes": (
        lambda e: weight(e)["tensor_meta"]["sizes"][0].update(as_int=2**62),
        "impossible shape",
    ),
    "strides": (
        lambda e: weight(e)["tensor_meta"]["strides"][0].update(as_int=-1),
        "impossible strides",
    ),
    "zero stride": (
        lambda e: [
            weight(e)["tensor_meta"]["sizes"][0].update(as_int=2**30),
            [s.update(as_int=0) for s in weight(e)["tensor_meta"]["strides"]],
        ],
        "claims .* elements",
    ),
    "no meta": (lambda e: weight(e).pop("tensor_meta"), "described wrongly"),
    "order": (lambda e: e.update({"unet/byteorder": b"big"}), "little-endian"),
    "argument": (
        lambda e: nodes(e)[0]["inputs"][0].update(arg={"as_graph": {}}),
        "kind 'as_graph'",
    ),
    "unknown value": (
        lambda e: nodes(e)[0]["inputs"][0]["arg"]["as_tensor"].update(name="nobody"),
        "'nobody' that nothing makes",
    ),
    "node": (lambda e: nodes(e)[0].pop("inputs"), "described wrongly"),
    "input": (
        lambda e: signature(e)["input_specs"].append({"custom_obj": {}}),
        "input of the kind 'custom_obj'",
    ),
    "output": (
        lambda e: signature(e)["output_specs"].append({"gradient_to_parameter": {}}),
        "output of the kind 'gradient_to_parameter'",
    ),
    "name": (
        lambda e: signature(e)["input_specs"][0]["parameter"].update(
            parameter_name="update.weight"
        ),
        "no bytes for 'update.weight'",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_is_wrong_is_one_error_that_names_the_file(kind, tmp_path):
    change, message = CHANGES[kind]
    path = changed(tmp_path, lambda entries: change(entries) and None)
    with pytest.raises(lucid.CheckpointError, match=message) as error:
        lucid.load_program(path)
    assert str(error.value).startswith(str(path))


def test_compressed_weights_are_refused(tmp_path):
    path = changed(tmp_path, lambda entries: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(lucid.CheckpointError, match="compressed"):
        lucid.load_program(path)


@pytest.mark.parametrize("name", ["unet.npz", "export_programs.py"])
def test_other_files_are_no_programs(name):
    with pytest.raises(lucid.CheckpointError):
        lucid.load_program(DATA / name)


def test_operations_that_lucid_lacks_are_listed_with_the_line_they_are_from():
    with pytest.raises(lucid.CheckpointError) as error:
        lucid.load_program(DATA / "spectrum.pt2")
    lines = str(error.value).splitlines()
    assert "3 kinds of operation" in lines[0]
    assert lines[1].startswith("  aten.fft_fftn.default, 2 times: export_programs.py:")
    assert "torch.fft.fftn(x, dim=(2, 3, 4))" in lines[1]
    assert any("fft_ifftn.default, once" in line for line in lines)


def test_a_weight_that_was_frozen_stays_so(tmp_path):
    def freeze(entries):
        weight(entries)["tensor_meta"]["requires_grad"] = False

    net = lucid.load_program(changed(tmp_path, freeze))
    assert "weight" not in net.trainable_parameters()["head"]
    assert "bias" in net.trainable_parameters()["head"]


def test_names_of_one_array_are_one_array(tmp_path):
    def tie(entries):
        config = entries[WEIGHTS]["config"]
        config["bottom.1.bias"] = config["bottom.1.weight"]

    net = lucid.load_program(changed(tmp_path, tie))
    inner = net.bottom[1]
    assert inner["bias"] is inner["weight"]
    names = [name for name, _ in net.named_parameters()]
    assert "bottom.1.bias" not in names


@pytest.mark.parametrize("name", ["update", "_hidden", "0"])
def test_names_that_no_attribute_can_have_are_kept(name, tmp_path):
    def rename(entries):
        entries[WEIGHTS]["config"][f"{name}.{name}"] = weight(entries)
        for spec in signature(entries)["input_specs"]:
            if spec.get("parameter", {}).get("parameter_name") == "head.weight":
                spec["parameter"]["parameter_name"] = f"{name}.{name}"

    net = lucid.load_program(changed(tmp_path, rename)).eval()
    assert f"{name}.{name}" in net.state_dict()
    x = mx.ones((1, 1, 4, 4, 4))
    want = lucid.load_program(DATA / "unet.pt2").eval()(x)
    for twin in (net, pickle.loads(pickle.dumps(net))):
        assert mx.array_equal(twin(x), want)
    net.get_submodule(name).freeze()
    _, gradients = nn.value_and_grad(net, lambda x: net(x).square().sum())(x)
    count = len(tree_flatten(gradients))
    assert count == len(net.named_parameters()) - 1
