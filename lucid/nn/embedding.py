"""A table of learned vectors."""

from __future__ import annotations

from lucid._types import (
    DeviceLike,
    DTypeLike,
    Tensor,
    check_allocatable,
    check_array,
    flag,
    positive,
    real,
)
from lucid.creation import get_rng_state, set_rng_state
from lucid.nn import functional as F
from lucid.nn import init
from lucid.nn._layer import Layer, Shapes
from lucid.nn._module import Parameter
from lucid.nn.functional.embedding import check_embedding_options, check_padding_idx


class Embedding(Layer):
    """A learned vector for each index.

    Args:
        num_embeddings: how many indices there are.
        embedding_dim: length of a vector.
        padding_idx: an index whose vector starts as zeros and is not trained.
        max_norm: must be None: PyTorch's changes the weight at each look-up.
        norm_type: accepted as in PyTorch; belongs to `max_norm`.
        scale_grad_by_freq: whether a vector's gradient is divided by how often it is
            looked up in a call.
        sparse: must be False: MLX has no sparse gradients.
        _weight: the first values of the vectors.
        _freeze: whether to freeze the vectors.
        device: 'cpu', 'gpu' (or 'metal'), an MLX device, or None for MLX's default when
            called.
        dtype: float32 (None), float16 or bfloat16.

    Attributes:
        weight (Parameter): (num_embeddings, embedding_dim), drawn from N(0, 1).

    Shape:
        - input: any, of an integer dtype
        - output: (..., embedding_dim)

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: a value that is out of range or not supported.

    Example:
        >>> import lucid, lucid.nn as nn
        >>> nn.Embedding(10, 4, padding_idx=0)(lucid.tensor([[0, 3, 9]])).shape
        (1, 3, 4)
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: DeviceLike = None,
        dtype: DTypeLike = None,
    ):
        super().__init__()
        self.num_embeddings = positive("num_embeddings", num_embeddings)
        self.embedding_dim = positive("embedding_dim", embedding_dim)
        sizes = (self.num_embeddings, self.embedding_dim)
        check_allocatable("`num_embeddings` and `embedding_dim`", sizes, 4)
        if padding_idx is not None:
            padding_idx = check_padding_idx(padding_idx, self.num_embeddings)
        self.padding_idx = padding_idx
        check_embedding_options(max_norm, sparse)
        self.max_norm = max_norm
        self.norm_type = real("norm_type", norm_type)
        self.scale_grad_by_freq = flag("scale_grad_by_freq", scale_grad_by_freq)
        self.sparse = False
        is_frozen = flag("_freeze", _freeze)
        if _weight is None:
            self._create_arrays(device, dtype)
        else:
            self._take(_weight, device)
        if is_frozen:
            self.freeze()

    def _take(self, weight: Tensor, device: DeviceLike) -> None:
        check_array("_weight", weight)
        if weight.shape != (self.num_embeddings, self.embedding_dim):
            raise ValueError(
                f"`_weight` must be ({self.num_embeddings}, {self.embedding_dim}), got "
                f"shape {weight.shape}."
            )
        key = get_rng_state()
        self._create_arrays(device, weight.dtype)
        set_rng_state(key)  # nothing that was drawn is used
        self.weight = weight

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An Embedding of given vectors, (num_embeddings, embedding_dim).

        Args:
            embeddings: the vectors.
            freeze: whether to freeze them.
            padding_idx: an index whose vector is not trained.
            max_norm: as in the class.
            norm_type: as in the class.
            scale_grad_by_freq: as in the class.
            sparse: as in the class.
        """
        check_array("embeddings", embeddings)
        if embeddings.ndim != 2:
            raise ValueError(f"`embeddings` must be 2-D, got shape {embeddings.shape}.")
        return cls(
            *embeddings.shape,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
            _weight=embeddings,
            _freeze=freeze,
        )

    def parameter_shapes(self) -> Shapes:
        """The shape of the weight."""
        return {"weight": (self.num_embeddings, self.embedding_dim)}

    def reset_parameters(self) -> None:
        """Redraw the vectors; that of `padding_idx` is zeros."""
        self._allocate()  # new arrays: nobody else's are overwritten
        with self._on_device():
            init.normal_(self.weight)
            if self.padding_idx is not None:
                self.weight[self.padding_idx] = 0

    def forward(self, input: Tensor) -> Tensor:
        """The vectors of the indices, (..., embedding_dim)."""
        with self._on_device():
            return F.embedding(
                input,
                self.weight,
                self.padding_idx,
                scale_grad_by_freq=self.scale_grad_by_freq,
            )

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults, as PyTorch shows them."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return text
