"""Every word for a device, and which one is in force."""

from typing import Any

from lucid import _device
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
