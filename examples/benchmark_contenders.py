"""Who computes a convolution in `benchmark_conv3d.py`, and whether they agree.

Every contender takes and gives PyTorch's layout, (N, C, D, H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import importlib
import importlib.util
import os
from typing import Any

from benchmark_shapes import Case
import lucid
import lucid.nn.functional as F
import mlx.core as mx
import numpy as np

# Of the largest value. Float32: sums of 27 * 64 products and of 64^3 voxels stay below.
# bfloat16: 8 significant bits; PyTorch sums its input gradient in them (2e-2 off).
TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2}

# What a contender gives: a forward pass, and one with the gradients of input, weight
# and bias. Each computes to the end and returns its arrays.
Run = Callable[[], Sequence[Any]]
Contender = Callable[[Case, Sequence[np.ndarray], str], tuple[Run, Run]]


class DisagreementError(RuntimeError):
    """Two contenders computed different things, so that their times mean nothing."""


def lucid_contender(
    case: Case, arrays: Sequence[np.ndarray], device: str
) -> tuple[Run, Run]:
    return _mlx_runs(lambda x, w, b: F.conv3d(x, w, b, **case.options), case, arrays)


def autotuned_contender(
    case: Case, arrays: Sequence[np.ndarray], device: str
) -> tuple[Run, Run]:
    """What `lucid.autotune` measures to be the fastest, in its first call."""

    def conv(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
        with lucid.autotune():
            return F.conv3d(x, w, b, **case.options)

    return _mlx_runs(conv, case, arrays)


def mlx_contender(
    case: Case, arrays: Sequence[np.ndarray], device: str
) -> tuple[Run, Run]:
    """What a user of `mx.conv3d` writes: channels last, one group at a time.

    It pads with zeros, as many on both sides; all else is padded before. The result
    stays a transposed view, which the next layer would take as it is.
    """
    (depth, height, width), after = zip(*case.sides, strict=True)
    own_padding = case.mode == "zeros" and (depth, height, width) == after
    padding = (depth, height, width) if own_padding else 0

    def conv(x: mx.array, w: mx.array, b: mx.array) -> mx.array:
        x, w = (a.transpose(0, 2, 3, 4, 1) for a in (x, w))
        if not own_padding:
            x = _mlx_pad(x, case.sides, case.mode)
        outputs = [
            mx.conv3d(
                part, kernel, case.triple("stride"), padding, case.triple("dilation")
            )
            for part, kernel in zip(
                mx.split(x, case.groups, axis=-1), mx.split(w, case.groups), strict=True
            )
        ]
        y = outputs[0] if case.groups == 1 else mx.concatenate(outputs, axis=-1)
        return (y + b).transpose(0, 4, 1, 2, 3)

    return _mlx_runs(conv, case, arrays)


def _mlx_pad(x: mx.array, sides: list[tuple[int, int]], mode: str) -> mx.array:
    """Pad (N, D, H, W, C); `mx.pad` has every mode but the circular one."""
    if mode != "circular":
        modes = {"zeros": "constant", "reflect": "reflect", "replicate": "edge"}
        return mx.pad(x, [(0, 0), *sides, (0, 0)], mode=modes[mode])  # type: ignore[arg-type]
    for axis, (before, after) in enumerate(sides, start=1):
        _, tail = mx.split(x, [x.shape[axis] - before], axis)
        head, _ = mx.split(x, [after], axis)
        x = mx.concatenate([tail, x, head], axis)
    return x


def _mlx_runs(
    conv: Callable[..., mx.array], case: Case, arrays: Sequence[np.ndarray]
) -> tuple[Run, Run]:
    dtype = getattr(mx, case.dtype)
    *inputs, cotangent = (mx.array(array).astype(dtype) for array in arrays)
    mx.eval(inputs, cotangent)

    def forward() -> list[mx.array]:
        y = conv(*inputs)
        mx.eval(y)
        return [y]

    def forward_backward() -> list[mx.array]:
        outputs, gradients = mx.vjp(lambda *a: [conv(*a)], inputs, [cotangent])
        mx.eval(outputs, gradients)
        return [*outputs, *gradients]

    return forward, forward_backward


def torch_device(device: str) -> str:
    """PyTorch's name for MLX's device, or for the nearest it has."""
    backends = importlib.import_module("torch").backends
    if device == "gpu" and backends.mps.is_available():
        return "mps"
    return "cuda" if device == "gpu" and backends.cuda.is_built() else "cpu"


def jax_device(device: str) -> Any:
    """JAX's device for MLX's; its default is the fastest it has."""
    jax = importlib.import_module("jax")
    return jax.devices("cpu" if device == "cpu" else None)[0]


def torch_contender(
    case: Case, arrays: Sequence[np.ndarray], device: str
) -> tuple[Run, Run]:
    torch = importlib.import_module("torch")
    functional = torch.nn.functional
    torch.set_num_threads(os.cpu_count())
    where = {"device": torch_device(device), "dtype": getattr(torch, case.dtype)}
    *inputs, cotangent = (torch.from_numpy(array).to(**where) for array in arrays)
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    options = {k: v for k, v in case.options.items() if k != "padding_mode"}
    last_axis_first = [p for side in reversed(case.sides) for p in side]
    synchronize = {
        "cpu": lambda: None,  # computes in the call
        "mps": lambda: torch.mps.synchronize(),
        "cuda": lambda: torch.cuda.synchronize(),
    }[where["device"]]

    def conv(x: Any, w: Any, b: Any) -> Any:
        if case.mode == "zeros":
            return functional.conv3d(x, w, b, **options)
        x = functional.pad(x, last_axis_first, mode=case.mode)  # as nn.Conv3d does
        return functional.conv3d(x, w, b, **{**options, "padding": 0})

    def forward() -> list[Any]:
        with torch.no_grad():
            y = conv(*inputs)
        synchronize()
        return [y]

    def forward_backward() -> list[Any]:
        y = conv(*leaves)
        gradients = torch.autograd.grad(y, leaves, cotangent)
        synchronize()
        return [y.detach(), *gradients]

    return forward, forward_backward


def jax_contender(
    case: Case, arrays: Sequence[np.ndarray], device: str
) -> tuple[Run, Run]:
    """Compiled before anything is timed."""
    jax = importlib.import_module("jax")
    jnp = importlib.import_module("jax.numpy")
    own_padding = case.mode == "zeros"
    modes = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}

    def conv(x: Any, w: Any, b: Any) -> Any:
        if not own_padding:
            x = jnp.pad(x, [(0, 0), (0, 0), *case.sides], mode=modes[case.mode])
        y = jax.lax.conv_general_dilated(
            x,
            w,
            window_strides=case.triple("stride"),
            padding=case.sides if own_padding else "VALID",
            rhs_dilation=case.triple("dilation"),
            dimension_numbers=("NCDHW", "OIDHW", "NCDHW"),
            feature_group_count=case.groups,
        )
        return y + b[:, None, None, None]

    def with_gradients(cotangent: Any, *inputs: Any) -> list[Any]:
        y, vjp = jax.vjp(conv, *inputs)
        return [y, *vjp(cotangent)]

    typed = [jnp.asarray(array, case.dtype) for array in arrays]
    placed = [jax.device_put(array, jax_device(device)) for array in typed]
    *inputs, cotangent = jax.block_until_ready(placed)
    plain = jax.jit(conv).lower(*inputs).compile()
    both = jax.jit(with_gradients).lower(cotangent, *inputs).compile()

    def forward() -> list[Any]:
        return [plain(*inputs).block_until_ready()]

    def forward_backward() -> list[Any]:
        return jax.block_until_ready(both(cotangent, *inputs))

    return forward, forward_backward


CONTENDERS: dict[str, Contender] = {
    "lucid": lucid_contender,
    "autotuned": autotuned_contender,
    "mx.conv3d": mlx_contender,
}
if importlib.util.find_spec("torch"):
    CONTENDERS["torch"] = torch_contender
if importlib.util.find_spec("jax"):
    CONTENDERS["jax"] = jax_contender


def problem(case: Case) -> list[np.ndarray]:
    """Input, weight, bias and a cotangent, in float32, with values of its dtype."""
    random = np.random.default_rng(0)
    shapes = (case.input, case.weight, case.weight[:1], case.output)
    arrays = [random.standard_normal(shape, np.float32) for shape in shapes]
    return [as_float32(mx.array(a).astype(getattr(mx, case.dtype))) for a in arrays]


def as_float32(array: Any) -> np.ndarray:
    """Anyone's array in NumPy, which has no bfloat16 of its own."""
    if isinstance(array, mx.array):
        return np.array(array.astype(mx.float32))
    if hasattr(array, "cpu"):  # PyTorch's
        return array.float().cpu().numpy()
    return np.asarray(array).astype(np.float32)


def check_agreement(
    results: Mapping[str, Sequence[Any]], names: Sequence[str], tolerance: float
) -> None:
    """Compare everyone's arrays, which have these names, with those of the first.

    Raises:
        DisagreementError: naming the contender and what differs.
    """
    (first, reference), *others = results.items()
    for contender, arrays in others:
        if len(arrays) != len(reference):
            raise DisagreementError(
                f"{contender} gives {len(arrays)} arrays, {first} {len(reference)}."
            )
        for name, want, got in zip(names, reference, arrays, strict=False):
            a, b = as_float32(want), as_float32(got)
            off = (
                np.abs(a - b).max() / np.abs(a).max() if a.shape == b.shape else np.inf
            )
            if not off <= tolerance:  # a NaN disagrees too
                raise DisagreementError(
                    f"{contender} and {first} differ in the {name} by {off:.1e} of "
                    f"its largest value, more than {tolerance:.0e}."
                )
