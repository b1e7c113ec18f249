"""What computes: a user's words for a device, the one in force, plain operations.

Questions are asked at call time, and as attributes of this module, so that a test may
answer them otherwise (`tests/metal_emulator`).
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import contextvars
import os
from typing import Any

from lucid._cpu import OFF
from lucid._types import DeviceLike, shown
import mlx.core as mx

_plain = contextvars.ContextVar("plain", default=False)

_CHECK = ("", "check", "1", "on", "true", "yes")
_NAMES = {"cpu": mx.cpu, "gpu": mx.gpu, "metal": mx.gpu}


def resolve(device: DeviceLike) -> mx.Device | None:
    """The MLX device of a device, a device type or a name; None stays None.

    Raises:
        TypeError: if `device` is none of these.
        ValueError: if there is no such device on this machine.
    """
    if device is None:
        return None
    if isinstance(device, str):
        if device not in _NAMES:
            hint = " A Mac's GPU is .to('gpu')." if _of_pytorch(device) else ""
            raise ValueError(
                f"`device` (={shown(device)}) must be 'cpu', 'gpu' or 'metal'.{hint}"
            )
        device = _NAMES[device]
    if isinstance(device, mx.DeviceType):
        device = mx.Device(device)
    if not isinstance(device, mx.Device):
        raise TypeError(
            f"`device` (={shown(device)}) must be an mlx.core.Device, a DeviceType, "
            "'cpu', 'gpu', 'metal' or None."
        )
    if not available(device):
        raise ValueError(f"`device` (={device}) is not available on this machine.")
    return device


def _of_pytorch(device: str) -> bool:
    return device.partition(":")[0] in ("cuda", "mps")


def name(device: DeviceLike) -> str | None:
    """`"cpu"`, `"gpu"` or None: what a module stores, since devices do not pickle."""
    resolved = resolve(device)
    return None if resolved is None else resolved.type.name


def available(device: mx.Device) -> bool:
    """Whether this machine has `device`, of which Apple's have one of a type."""
    return device == mx.Device(device.type) and mx.is_available(device)


def on_gpu() -> bool:
    """Whether an operation made now runs on the GPU."""
    return mx.default_device().type == mx.gpu


def has_metal() -> bool:
    """Whether the GPU is Apple's, and takes Metal kernels."""
    return mx.metal.is_available() and mx.is_available(mx.gpu)


def running_on(device: DeviceLike) -> contextlib.AbstractContextManager[Any]:
    """A context in which MLX operations run on `device` (None: where they would)."""
    resolved = resolve(device)
    return contextlib.nullcontext() if resolved is None else mx.stream(resolved)


def uses_metal() -> bool:
    """Whether Lucid's Metal kernels run on this machine's GPU."""
    return not metal_switched_off() and has_metal()


def metal_switched_off() -> bool:
    """By `LUCID_METAL=0`, or inside `plain_operations`.

    Raises:
        ValueError: if LUCID_METAL is set to what it does not know.
    """
    return is_plain() or _metal_switch() == "0"


def trusts_metal() -> bool:
    """Whether `LUCID_METAL=trust` has kernels used unchecked (`lucid.metal.guard`)."""
    return _metal_switch() == "trust"


def _metal_switch() -> str:
    """`check`, `trust` or `0`, asked at every call."""
    value = os.environ.get("LUCID_METAL", "")
    word = value.lower()
    if word in OFF:
        return "0"
    if word in _CHECK:
        return "check"
    if word == "trust":
        return word
    raise ValueError(f"`LUCID_METAL` (={shown(value)}) must be check, trust or 0.")


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """Compute with MLX's own operations and their own derivatives.

    For transformations that MLX does not have for custom kernels and custom
    derivatives: `mx.export_function`, and on a GPU `mx.vmap`. It is slower.

    Do not use `mx.compile(shapeless=True)` with Lucid's layers, inside or outside: what
    they read from a shape (how far to pad, how many numbers a mean has) stays that of
    the first call, and MLX notices only some of it. Plain `mx.compile` traces each new
    shape.

    Example:
        >>> import lucid, lucid.nn as nn, mlx.core as mx
        >>> conv = nn.Conv3d(4, 4, 3, groups=4)
        >>> with lucid.plain_operations():
        ...     mx.vmap(conv)(lucid.ones(2, 1, 4, 5, 5, 5)).shape
        (2, 1, 4, 3, 3, 3)
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Whether the code runs inside `plain_operations`."""
    return _plain.get()
