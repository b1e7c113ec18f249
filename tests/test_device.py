"""Every word for a device, and which one is in force."""

from typing import Any

import lucid
from lucid import _device
import lucid.metal
import mlx.core as mx
import pytest


def no_gpu(device: mx.Device) -> bool:
    return device.type == mx.cpu


@pytest.mark.parametrize("device", ["cpu", mx.cpu, mx.Device(mx.cpu)], ids=repr)
def test_every_form_of_cpu_resolves_to_the_cpu(device: Any):
    assert _device.resolve(device) == mx.Device(mx.cpu)
    assert _device.name(device) == "cpu"


def test_no_device_stays_none():
    assert _device.resolve(None) is None
    assert _device.name(None) is None


@pytest.mark.parametrize("device", ["gpu", "metal", mx.gpu, mx.Device(mx.gpu)])
def test_every_form_of_gpu_resolves_to_the_gpu_where_there_is_one(
    device: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_device, "available", lambda device: True)
    assert _device.resolve(device) == mx.Device(mx.gpu)
    assert _device.name(device) == "gpu"


@pytest.mark.parametrize("device", ["gpu", "metal", mx.gpu, mx.Device(mx.gpu)])
def test_a_missing_gpu_is_a_value_error(device: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_device, "available", no_gpu)
    with pytest.raises(ValueError, match=r"`device` .*gpu.* not available"):
        _device.resolve(device)


def test_available_is_what_mlx_says():
    for kind in (mx.cpu, mx.gpu):
        assert _device.available(mx.Device(kind)) == mx.is_available(kind)


@pytest.mark.parametrize("index", [1000, -1])
def test_a_device_index_that_does_not_exist_is_a_value_error(index: int):
    with pytest.raises(ValueError, match="`device`"):
        _device.resolve(mx.Device(mx.cpu, index))


@pytest.mark.parametrize("name", ["CPU", "cuda", "mps", "cpu:0", ""])
def test_an_unknown_device_name_is_a_value_error_listing_the_names(name: str):
    with pytest.raises(ValueError, match=r"'cpu', 'gpu' or 'metal'") as error:
        _device.resolve(name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize("device", [0, 1.5, True, b"cpu", ["cpu"], object()])
def test_a_device_of_another_type_is_a_type_error(device: Any):
    with pytest.raises(TypeError, match="`device`"):
        _device.resolve(device)


def test_running_on_chooses_the_device_and_puts_it_back():
    before = mx.default_device()
    with _device.running_on("cpu"):
        assert mx.default_device() == mx.Device(mx.cpu)
    assert mx.default_device() == before


def test_running_on_nothing_keeps_the_device():
    with mx.stream(mx.cpu), _device.running_on(None):
        assert mx.default_device() == mx.Device(mx.cpu)


@pytest.fixture
def metal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of Apple's, without one."""
    monkeypatch.setattr(_device, "has_metal", lambda: True)
    monkeypatch.delenv("LUCID_METAL", raising=False)


@pytest.mark.parametrize("has_metal", [True, False])
def test_metal_kernels_need_a_gpu_of_apples(metal, monkeypatch, has_metal):
    monkeypatch.setattr(_device, "has_metal", lambda: has_metal)
    assert lucid.metal.enabled() is has_metal


@pytest.mark.parametrize(
    ("value", "enabled"),
    [
        *((word, False) for word in ("0", "off", "False", "NO", "none")),
        *((word, True) for word in ("", "1", "on", "check", "Trust")),
    ],
)
def test_lucid_metal_0_turns_metal_kernels_off(metal, monkeypatch, value, enabled):
    """Read at every call."""
    assert lucid.metal.enabled()
    monkeypatch.setenv("LUCID_METAL", value)
    assert lucid.metal.enabled() is enabled
    monkeypatch.delenv("LUCID_METAL")
    assert lucid.metal.enabled()


@pytest.mark.parametrize("value", ["2", "tust", " 0"])
def test_what_lucid_metal_does_not_know_is_an_error(metal, monkeypatch, value):
    """Not the default: who has a GPU that fails would believe it off."""
    monkeypatch.setenv("LUCID_METAL", value)
    with pytest.raises(ValueError, match=f"`LUCID_METAL` .='{value}'. must be check"):
        lucid.metal.enabled()


@pytest.mark.parametrize(
    ("value", "trusts"), [("trust", True), ("TRUST", True), ("check", False)]
)
def test_lucid_metal_trust_has_kernels_unchecked(monkeypatch, value, trusts):
    monkeypatch.setenv("LUCID_METAL", value)
    assert _device.trusts_metal() is trusts


def test_plain_operations_turn_metal_kernels_off_for_a_while(metal):
    with lucid.plain_operations():
        assert not lucid.metal.enabled()
        with pytest.raises(KeyError), lucid.plain_operations():
            raise KeyError
        assert not lucid.metal.enabled()
    assert lucid.metal.enabled()


def test_plain_operations_do_not_override_the_environment(metal, monkeypatch):
    monkeypatch.setenv("LUCID_METAL", "0")
    with lucid.plain_operations():
        pass
    assert not lucid.metal.enabled()
