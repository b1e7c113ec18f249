"""What the norms with running statistics share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lucid._types import DeviceLike, DTypeLike, Tensor, check_allocatable, flag, real
from lucid.nn import init
from lucid.nn._layer import Layer, Shapes
from lucid.nn._module import Buffer, Parameter
from lucid.nn.functional.conv import channels_of
import mlx.core as mx

ARRAYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class ChannelNorm(Layer):
    """Weight, bias and running statistics, a number for each channel."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Buffer | None
    running_var: Buffer | None
    num_batches_tracked: Buffer | None
    num_features: int | None

    buffer_dtypes: ClassVar[Mapping[str, str | None]] = {
        "running_mean": None,
        "running_var": None,
        "num_batches_tracked": "int64",
    }
    optional_in_state_dict = ("num_batches_tracked",)

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: DeviceLike,
        dtype: DTypeLike,
        bias: bool,
    ):
        super().__init__()
        self.num_features = self._size("num_features", num_features)
        check_allocatable("`num_features`", (self.num_features or 0,), 4)
        self.eps = real("eps", eps)
        self.momentum = None if momentum is None else real("momentum", momentum)
        self.affine = flag("affine", affine)
        self.track_running_stats = flag("track_running_stats", track_running_stats)
        self._has_bias = flag("bias", bias) and self.affine
        absent = {
            "weight",
            "bias",
            *self.buffer_dtypes,
        } - self.parameter_shapes().keys()
        for name in absent:
            setattr(self, name, None)
        self._create_arrays(device, dtype)

    def parameter_shapes(self) -> Shapes:
        """The shape of each parameter and buffer, None where the input tells."""
        channels = (self.num_features,)
        shapes: Shapes = {}
        if self.affine:
            shapes["weight"] = channels
        if self._has_bias:
            shapes["bias"] = channels
        if self.track_running_stats:
            shapes |= {"running_mean": channels, "running_var": channels}
            shapes["num_batches_tracked"] = ()
        return shapes

    def reset_parameters(self) -> None:
        """Begin anew: weight 1, bias 0, running mean 0 and variance 1."""
        self._allocate()  # new arrays: nobody else's are overwritten
        self.reset_running_stats()
        for name, fill in (("weight", init.ones_), ("bias", init.zeros_)):
            if name in self:
                fill(self[name])

    def reset_running_stats(self) -> None:
        """Forget the batches: running mean 0, variance 1, none tracked."""
        for name, value in zip(self.buffer_dtypes, (0, 1, 0), strict=True):
            if name in self:
                self[name][...] = value

    def infer(self, input: Tensor) -> dict[str, int]:
        """The channels of a first input, once all else about it is right."""
        channels = channels_of(self._batch(input))
        stand_ins: dict[str, Tensor | None] = dict.fromkeys(ARRAYS)
        for name, shape in self.parameter_shapes().items():
            stand_ins[name] = mx.zeros((channels,) * len(shape), self[name].dtype)
        self._normalize(self._batch(input), **stand_ins)  # refuses what is wrong
        return {"num_features": channels}

    def sizes_from(self, values: Mapping[str, Tensor]) -> dict[str, int] | None:
        """The channels, read off anything that has one number for each."""
        for array in values.values():
            if array.ndim == 1:
                return {"num_features": array.shape[0]}
        return None

    def forward(self, input: Tensor) -> Tensor:
        """Normalize `input`; in training, move the running statistics."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        with self._on_device():
            y = self._normalize(self._batch(input), **arrays)
        return y if input.ndim == 5 else y[0]

    def _normalize(
        self,
        batch: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        num_batches_tracked: Tensor | None,
    ) -> Tensor:
        """`forward` of a batch, with these arrays."""
        raise NotImplementedError

    def _batch(self, input: Tensor) -> Tensor:
        """The input as a batch of volumes, if its channels are this layer's."""
        channels = channels_of(input)
        if self.num_features not in (None, channels) and self.parameter_shapes():
            raise ValueError(
                f"`input` must have as many channels as `num_features` "
                f"(={self.num_features}), got shape {input.shape}."
            )
        return input if input.ndim == 5 else input[None]

    def extra_repr(self) -> str:
        """Every argument, as PyTorch shows them."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={'bias' in self}, "
            f"track_running_stats={self.track_running_stats}"
        )
