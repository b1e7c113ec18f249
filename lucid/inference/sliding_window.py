"""Sliding-window inference, with MONAI's arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
import itertools
import numbers
from typing import Any

from lucid import _device
from lucid._types import (
    FLOAT_DTYPES,
    DeviceLike,
    DTypeLike,
    Tensor,
    check_float_dtype,
    integer,
    positive,
    resolve_dtype,
    shown,
)
from lucid.inference.blending import (
    Blend,
    Window,
    checked_weights,
    cropped,
    importance,
)
from lucid.nn import functional as F
import mlx.core as mx

_PADDING_MODES = ("constant", "reflect", "replicate", "circular")


def sliding_window_inference(
    inputs: Tensor,
    roi_size: Sequence[int | None] | int | None,
    sw_batch_size: int,
    predictor: Callable[..., Any],
    overlap: Sequence[float] | float = 0.25,
    mode: str = "constant",
    sigma_scale: Sequence[float] | float = 0.125,
    padding_mode: str = "constant",
    cval: float = 0.0,
    sw_device: DeviceLike = None,
    device: DeviceLike = None,
    progress: bool = False,
    roi_weight_map: Tensor | None = None,
    process_fn: Callable[..., Any] | None = None,
    buffer_steps: int | None = None,
    buffer_dim: int = -1,
    with_coord: bool = False,
    *args: Any,
    output_dtype: DTypeLike = None,
    **kwargs: Any,
) -> Any:
    """Predict a volume window by window, and blend the windows where they overlap.

    It has the arguments, weights and results of MONAI's function of this name. Each
    voxel is the weighted mean of the predictions of the windows that contain it.
    Windows are evaluated a batch at a time, in the order of their depth. Sums are in
    float32, and kept only for planes that later windows reach, so that only the result
    grows with the volume.

    Args:
        inputs: volumes.
        roi_size: the size of a window: (depth, height, width), or an int for all three;
            None, zero or less takes the whole axis.
        sw_batch_size: how many windows the predictor is given at once.
        predictor: a model, or a function of (windows, C, depth, height, width) that
            returns an array, or a tuple, list or dict of arrays, of any channels and
            sizes. Call `model.eval()` before.
        overlap: overlap of neighboring windows, as a fraction of `roi_size` in [0, 1).
        mode: 'constant' gives all voxels of a window the same weight, 'gaussian' those
            at its center more.
        sigma_scale: the Gaussian's standard deviation, as a fraction of `roi_size`.
        padding_mode: how a volume smaller than a window is padded (see `F.pad`); the
            result is cropped to the volume.
        cval: what 'constant' pads with.
        sw_device: the device for predictions; None for MLX's default.
        device: the device for blending; None for MLX's default.
        progress: whether to show a bar (needs tqdm).
        roi_weight_map: weights of a window's voxels, instead of those of `mode`.
        process_fn: called as `process_fn(outputs, windows, weights)`, with `outputs` a
            tuple of arrays; returns the outputs and weights to use instead.
        buffer_steps: accepted and ignored: in unified memory, windows are not copied.
        buffer_dim: accepted and ignored.
        with_coord: whether to also pass the windows' slices to the predictor.
        args: further arguments of the predictor.
        output_dtype: dtype of the result; None for that of `inputs`, or float32 if
            those are integers. float16 and bfloat16 take half the memory.
        kwargs: further arguments of the predictor; `condition` is cut into windows as
            `inputs` is.

    Shape:
        - inputs: (N, C, D, H, W)
        - output: (N, K, D, H, W); sizes are scaled by what the predictor returns for a
          window over the window's

    Returns:
        What the predictor returns, for whole volumes.

    Raises:
        TypeError: an argument of the wrong type.
        ValueError: an argument that is out of range, or a prediction that does not fit.
        MemoryError: if the result is larger than the machine's memory.

    Example:
        >>> import lucid
        >>> from lucid.inference import sliding_window_inference
        >>> volume = lucid.rand(1, 1, 40, 48, 56)
        >>> out = sliding_window_inference(volume, 32, 4, lambda x: 2 * x)
        >>> bool((abs(out - 2 * volume) < 1e-6).all())
        True
    """
    _check_arguments(inputs, predictor, mode, padding_mode)
    batch_size = positive("sw_batch_size", sw_batch_size)
    size = inputs.shape[2:]
    roi = _window_size(roi_size, size)
    sides = _sides(size, roi)
    cut = {"inputs": inputs}
    if "condition" in kwargs:
        cut["condition"] = kwargs.pop("condition")
    if any(sides):
        cut = {key: F.pad(x, sides, padding_mode, cval) for key, x in cut.items()}
    padded = cut["inputs"].shape
    windows = _windows(padded, roi, _three("overlap", overlap))
    weighting = importance(roi, mode, _three("sigma_scale", sigma_scale))
    if roi_weight_map is not None:
        weighting = checked_weights("roi_weight_map", roi_weight_map, roi)
    dtype = resolve_dtype(output_dtype)
    check_float_dtype("output_dtype", dtype)
    if output_dtype is None and inputs.dtype in FLOAT_DTYPES:
        dtype = inputs.dtype

    blends: list[Blend] = []
    pack: Callable[[list[mx.array]], Any] = list
    for batch in _batches(windows, batch_size, progress):
        with _device.running_on(sw_device):
            patches, predicted = _predicted(
                predictor, cut, batch, with_coord, args, kwargs
            )
            outputs, pack = _flattened(predicted, len(batch))
            weights = weighting
            if process_fn is not None:
                outputs, weights = process_fn(outputs, patches, weighting)
                weights = checked_weights("process_fn", weights, roi)
            mx.eval(outputs, weights)
        with _device.running_on(device):
            if not blends:
                blends = [Blend(padded, roi, out.shape, dtype) for out in outputs]
            for blend, output in zip(blends, outputs, strict=True):
                blend.add(batch, output, weights)
    with _device.running_on(device):
        return pack([cropped(blend.finished(), sides, size, roi) for blend in blends])


def _predicted(
    predictor: Callable[..., Any],
    cut: Mapping[str, mx.array],
    batch: list[Window],
    with_coord: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[mx.array, Any]:
    """The voxels of some windows, and what the predictor makes of them."""
    data = {key: mx.concatenate([x[w] for w in batch]) for key, x in cut.items()}
    patches = data.pop("inputs")
    coordinates = [[list(window) for window in batch]] if with_coord else []
    return patches, predictor(patches, *coordinates, *args, **data, **kwargs)


def _check_arguments(inputs: Any, predictor: Any, mode: Any, padding_mode: Any) -> None:
    if not isinstance(inputs, mx.array):
        raise TypeError(f"`inputs` must be an array, got {type(inputs).__name__}.")
    if inputs.ndim != 5 or 0 in inputs.shape:
        raise ValueError(
            f"`inputs` must be (N, C, D, H, W), no length 0, got {inputs.shape}."
        )
    if not callable(predictor):
        raise TypeError(
            f"`predictor` (={shown(predictor)}) must be a model or a function."
        )
    if mode not in ("constant", "gaussian"):
        raise ValueError(f"`mode` (={shown(mode)}) must be 'constant' or 'gaussian'.")
    if padding_mode not in _PADDING_MODES:
        raise ValueError(
            f"`padding_mode` (={shown(padding_mode)}) must be one of {_PADDING_MODES}."
        )


def _window_size(roi_size: Any, size: tuple[int, ...]) -> tuple[int, ...]:
    """MONAI's rule: what is None, zero or less takes the whole axis."""
    if not isinstance(roi_size, Sequence):
        roi_size = (roi_size,) * 3
    if len(roi_size) != 3:
        raise ValueError(
            f"`roi_size` (={shown(roi_size)}) must be an int or three ints."
        )
    asked = (0 if n is None else integer("roi_size", n) for n in roi_size)
    return tuple(n if n > 0 else whole for n, whole in zip(asked, size, strict=True))


def _three(name: str, value: Any) -> tuple[float, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * 3
    if len(values) != 3 or not all(isinstance(v, numbers.Real) for v in values):
        raise TypeError(
            f"`{name}` (={shown(value)}) must be a number or three numbers."
        )
    if name == "overlap" and not all(0 <= v < 1 for v in values):
        raise ValueError(f"`overlap` (={shown(value)}) must be in [0, 1).")
    if name == "sigma_scale" and not all(v > 0 for v in values):
        raise ValueError(f"`sigma_scale` (={shown(value)}) must be positive.")
    return values


def _sides(size: tuple[int, ...], roi: tuple[int, ...]) -> list[int]:
    """What `F.pad` adds to a volume smaller than a window, the last axis first."""
    missing = [max(r - n, 0) for r, n in zip(roi, size, strict=True)]
    return [side for n in reversed(missing) for side in (n // 2, n - n // 2)]


def _windows(
    shape: tuple[int, ...], roi: tuple[int, ...], overlap: tuple[float, ...]
) -> list[Window]:
    """In the order of volume, depth, height and width; the last ones end at the end."""
    starts = []
    for n, r, share in zip(shape[2:], roi, overlap, strict=True):
        step = max(int(r * (1 - share)), 1)
        starts.append([min(i * step, n - r) for i in range(-(-(n - r) // step) + 1)])
    return [
        (
            slice(volume, volume + 1),
            slice(None),
            *(slice(s, s + r) for s, r in zip(corner, roi, strict=True)),
        )
        for volume in range(shape[0])
        for corner in itertools.product(*starts)
    ]


def _batches(
    windows: list[Window], size: int, progress: bool
) -> Iterable[list[Window]]:
    batches = [windows[i : i + size] for i in range(0, len(windows), size)]
    if not progress:
        return batches
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        raise ModuleNotFoundError("`progress` needs tqdm: pip install tqdm") from None
    return tqdm(batches)


def _flattened(
    predicted: Any, count: int
) -> tuple[tuple[mx.array, ...], Callable[[list[mx.array]], Any]]:
    """The arrays of a prediction, and what puts others in their place."""
    if isinstance(predicted, Mapping):
        keys = sorted(predicted)
        outputs = tuple(predicted[key] for key in keys)
        pack: Callable[[list[mx.array]], Any] = lambda arrays: dict(  # noqa: E731
            zip(keys, arrays, strict=True)
        )
    elif isinstance(predicted, tuple | list):
        outputs, pack = tuple(predicted), tuple
    else:
        outputs, pack = (predicted,), lambda arrays: arrays[0]
    if not outputs:
        raise ValueError("`predictor` returned no array.")
    for output in outputs:
        shape = output.shape if isinstance(output, mx.array) else type(output).__name__
        if not isinstance(output, mx.array) or output.ndim != 5 or shape[0] != count:
            raise ValueError(
                f"`predictor` must return (N, K, D, H, W) arrays for the {count} "
                f"windows it was given, got {shape}."
            )
    return outputs, pack
