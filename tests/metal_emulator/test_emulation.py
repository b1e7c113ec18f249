"""Lucid's kernels in the emulator: launches, twins, transforms and devices."""

import sys

from lucid import _device, choice, nn
from lucid.geometry import ConvGeometry, check_padding, conv_geometry
from lucid.metal import guard, launch, padding
from lucid.metal.conv import TWIN
from lucid.ops import conv
import mlx.core as mx
import pytest

from . import Emulation, emulated_metal
from .errors import EmulationError
from .sanitize import needs_sanitizers, sanitizer_report

SIDES = ((1, 1), (2, 0), (0, 1))


@pytest.fixture
def x() -> mx.array:
    return mx.random.normal((2, 3, 4, 5, 4), key=mx.random.key(0))


def geometry(mode: str = "reflect") -> ConvGeometry:
    one = (1, 1, 1)
    return conv_geometry(
        (2, 4, 3, 4, 5), (4, 2, 3, 3, 3), one, check_padding(1, one), one, 2, mode
    )


def weights() -> tuple[mx.array, mx.array]:
    keys = mx.random.split(mx.random.key(1))
    w = mx.random.normal((4, 2, 3, 3, 3), key=keys[0])
    return w, mx.random.normal((4,), key=keys[1])


def convolved(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
    """Channels-last, as the kernels have it."""
    first = x.transpose(0, 4, 1, 2, 3)
    y = conv.conv3d(choice.METAL, first, w, b, geometry())
    return y.transpose(0, 2, 3, 4, 1)


def convolved_sum(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
    return convolved(x, w, b).sum()


def expected_sum(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
    return TWIN.forward(x, w, b, geometry()).sum()


def cubed(x: mx.array) -> mx.array:
    return (padding.pad(x, SIDES, "replicate") ** 3).sum()


def cubed_ops(x: mx.array) -> mx.array:
    return (padding.pad_ops(x, SIDES, "replicate") ** 3).sum()


def slope_of(function):
    """A scalar whose gradient is a second derivative of the function."""
    return lambda x: (mx.grad(function)(x) ** 2).sum()


def test_a_launch_is_recorded(x):
    with emulated_metal() as emulation:
        padded = padding.pad(x, SIDES, "circular")
    assert (padded == padding.pad_ops(x, SIDES, "circular")).all()
    (record,) = emulation.launches
    assert record.name == "pad"
    assert record.template["T"] == mx.float32
    assert record.inputs[0].shape == x.shape
    assert launch.source("pad").strip() in record.kernel.source
    assert emulation.twins == []


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_types_go_in_and_out(x, dtype):
    with emulated_metal():
        padded = padding.pad(x.astype(dtype), SIDES, "reflect")
    assert padded.dtype == dtype
    assert (padded == padding.pad_ops(x.astype(dtype), SIDES, "reflect")).all()


def test_a_view_is_made_contiguous(x):
    view = x[:, ::-1, :, 1::2]
    with emulated_metal():
        padded = padding.pad(view, SIDES, "circular")
    assert (padded == padding.pad_ops(view, SIDES, "circular")).all()


def test_gradients_run_the_adjoint_kernels(x):
    with emulated_metal() as emulation:
        gradient = mx.grad(cubed)(x)
    assert emulation.names == ["pad", "pad_adjoint"]
    assert mx.allclose(gradient, mx.grad(cubed_ops)(x), rtol=1e-5, atol=1e-5)


def test_second_gradients_run_kernels(x):
    with emulated_metal() as emulation:
        gradient = mx.grad(slope_of(cubed))(x)
    assert set(emulation.names) == {"pad", "pad_adjoint"}
    assert emulation.twins == []
    assert mx.allclose(gradient, mx.grad(slope_of(cubed_ops))(x), rtol=1e-4, atol=1e-2)


def test_a_checkpoint_runs_kernels(x):
    with emulated_metal() as emulation:
        gradient = mx.grad(mx.checkpoint(cubed))(x)
    assert set(emulation.names) == {"pad", "pad_adjoint"}
    assert mx.allclose(gradient, mx.grad(cubed_ops)(x), rtol=1e-5, atol=1e-5)


def test_compiling_runs_the_twins(x):
    with emulated_metal() as emulation:
        gradient = mx.compile(mx.grad(cubed))(x)
        mx.eval(gradient)
    assert emulation.twins == ["pad_kernel", "pad_adjoint_kernel"]
    assert emulation.names == []
    assert mx.allclose(gradient, mx.grad(cubed_ops)(x), rtol=1e-5, atol=1e-5)


def test_a_convolution_and_its_gradients_run_kernels(x):
    w, b = weights()
    with emulated_metal() as emulation:
        y, gradients = mx.value_and_grad(convolved_sum, (0, 1, 2))(x, w, b)
    assert emulation.names == [
        "conv_forward",
        "conv_input_gradient",
        "conv_weight_gradient",
    ]
    assert mx.allclose(y, expected_sum(x, w, b), rtol=1e-4, atol=1e-3)
    expected = mx.grad(expected_sum, (0, 1, 2))(x, w, b)
    for got, want in zip(gradients, expected, strict=True):
        assert mx.allclose(got, want, rtol=1e-4, atol=1e-3)


def test_a_compiled_convolution_runs_the_twin(x):
    w, b = weights()
    with emulated_metal() as emulation:
        y = mx.compile(convolved)(x, w, b)
        mx.eval(y)
    assert emulation.twins == ["forward_kernel"]
    assert mx.allclose(y, TWIN.forward(x, w, b, geometry()), rtol=1e-5, atol=1e-5)


def test_a_layer_runs_kernels():
    layer = nn.Conv3d(4, 4, 3, groups=4, padding=1, padding_mode="circular")
    x = mx.ones((1, 4, 3, 4, 5))
    with emulated_metal() as emulation:
        y = layer(x)
        mx.eval(y)
        with _device.running_on("cpu"):
            expected = layer(x)
    assert emulation.names == ["conv_forward"]
    assert mx.allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_a_compiled_layer_runs_the_twin():
    layer = nn.Conv3d(4, 4, 3, groups=4)
    x = mx.ones((1, 4, 3, 4, 5))
    with emulated_metal() as emulation:
        y = mx.compile(layer)(x)
        mx.eval(y)
    assert emulation.twins == ["forward_kernel"]
    assert mx.allclose(y, layer(x), rtol=1e-5, atol=1e-5)


@pytest.fixture
def everything(x) -> Emulation:
    """One launch at least of each kernel."""
    with emulated_metal() as emulation:
        mx.eval(mx.grad(cubed)(x))
        mx.eval(mx.grad(convolved_sum, (0, 1, 2))(x, *weights()))
    assert len(set(emulation.names)) == 5
    return emulation


def test_what_ran_passes_the_second_front_end(everything):
    assert everything.type_errors() == []


@pytest.mark.slow
@needs_sanitizers
@pytest.mark.skipif(sys.platform != "linux", reason="as in test_sanitize.py")
def test_what_ran_passes_the_sanitizers(everything):
    launches = [(record.kernel, record.inputs) for record in everything.launches]
    assert sanitizer_report(launches) == ""


def test_a_fault_in_a_kernel_reaches_the_caller(x, monkeypatch):
    broken = launch.source("pad").replace("to[i] = from[i];", "to[i + 1] = from[i];")
    assert broken != launch.source("pad")
    sound = launch.source
    monkeypatch.setattr(launch, "source", lambda n: broken if n == "pad" else sound(n))
    monkeypatch.setenv("LUCID_METAL", "trust")
    launch.compiled.cache_clear()
    try:
        with emulated_metal(), pytest.raises(EmulationError, match="past its last"):
            padding.pad(x, SIDES, "circular")
    finally:
        launch.compiled.cache_clear()


def test_a_gpu_is_believed_in():
    gpu = mx.Device(mx.gpu)
    default = mx.default_device()
    with emulated_metal():
        assert _device.available(gpu)
        assert not _device.available(mx.Device(mx.gpu, 1))
        assert _device.resolve("metal") == gpu
        assert _device.on_gpu()
        with _device.running_on("cpu"):
            assert not _device.on_gpu()
            with _device.running_on(None):
                assert not _device.on_gpu()
            with _device.running_on("gpu"):
                assert _device.on_gpu()
                assert mx.default_device() == mx.Device(mx.cpu)
            assert not _device.on_gpu()
        assert _device.on_gpu()
    assert mx.default_device() == default


def test_the_world_is_as_before_after_an_error(x):
    before = (_device.on_gpu, _device.running_on, launch.run, guard.run_kernel)
    with pytest.raises(ZeroDivisionError), emulated_metal(), _device.running_on("cpu"):
        raise ZeroDivisionError
    after = (_device.on_gpu, _device.running_on, launch.run, guard.run_kernel)
    assert after == before


def test_emulations_nest(x):
    with emulated_metal() as outer:
        with emulated_metal() as inner:
            padding.pad(x, SIDES, "circular")
        assert inner.names == ["pad"]
        padding.pad(x, SIDES, "reflect")
    assert outer.names == ["pad"]
