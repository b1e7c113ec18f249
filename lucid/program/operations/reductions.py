"""Sums, means, extremes, and products of matrices."""

from __future__ import annotations

import math
from typing import Any

from lucid.program.operations.creation import dtype_of
import mlx.core as mx


def _axes(dim: Any) -> Any:
    return None if dim is None or dim == [] else dim


def _reduced(function: Any) -> Any:
    """A sum or mean; of half types in float32, rounded once."""

    def reduced(
        self: mx.array, dim: Any = None, keepdim: bool = False, dtype: Any = None
    ) -> mx.array:
        whole = not mx.issubdtype(self.dtype, mx.floating)
        default = mx.int64 if whole else self.dtype
        wide = self if self.dtype == mx.float32 or whole else self.astype(mx.float32)
        y = function(wide, axis=_axes(dim), keepdims=keepdim)
        return y.astype(dtype_of(dtype, default))

    return reduced


def _extreme(function: Any) -> Any:
    return lambda self, dim=None, keepdim=False: function(
        self, axis=_axes(dim), keepdims=keepdim
    )


def _with_place(value: Any, place: Any) -> Any:
    """PyTorch's `max` along an axis: (values, indices)."""

    def both(
        self: mx.array, dim: int, keepdim: bool = False
    ) -> tuple[mx.array, mx.array]:
        where = place(self, axis=dim, keepdims=keepdim).astype(mx.int64)
        return value(self, axis=dim, keepdims=keepdim), where

    return both


def _variance(
    self: mx.array, dim: Any = None, correction: Any = 1, keepdim: bool = False
) -> mx.array:
    ddof = 1 if correction is None else correction
    y = mx.var(self.astype(mx.float32), axis=_axes(dim), keepdims=keepdim, ddof=ddof)
    return y.astype(self.dtype)


def _variance_of_axes(
    self: mx.array, dim: Any, unbiased: bool = True, keepdim: bool = False
) -> mx.array:
    return _variance(self, dim, int(unbiased), keepdim)


def _sorted(
    self: mx.array, count: int | None, dim: int, descending: bool
) -> tuple[mx.array, mx.array]:
    """The values in order along an axis, and their places; only the first `count`."""
    order = mx.argsort(-self if descending else self, axis=dim)
    first = (slice(None),) * (dim % self.ndim) + (slice(count),)
    places = order[first].astype(mx.int64)
    return mx.take_along_axis(self, places, dim), places


def _norm(
    self: mx.array, ord: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any
) -> mx.array:
    total = (mx.abs(self.astype(mx.float32)) ** ord).sum(_axes(dim), keepdims=keepdim)
    return (total ** (1 / ord)).astype(self.dtype)


def _place(function: Any) -> Any:
    return lambda self, dim=None, keepdim=False: function(
        self, axis=dim, keepdims=keepdim
    ).astype(mx.int64)


def _product(left: str, right: str) -> Any:
    return lambda **arrays: mx.matmul(arrays[left], arrays[right])


def _addmm(self: Any, mat1: Any, mat2: Any, beta: Any = 1, alpha: Any = 1) -> mx.array:
    return beta * self + alpha * (mat1 @ mat2)


def _attention(
    query: mx.array,
    key: mx.array,
    value: mx.array,
    attn_mask: mx.array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> mx.array:
    """softmax(q k / sqrt(E) + mask) v, in float32 (Vaswani et al. 2017)."""
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query.astype(mx.float32) * factor) @ key.astype(mx.float32).swapaxes(
        -1, -2
    )
    if is_causal:
        attn_mask = mx.tril(mx.ones(scores.shape[-2:], mx.bool_))
    if attn_mask is not None and attn_mask.dtype == mx.bool_:
        scores = mx.where(attn_mask, scores, -mx.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = mx.softmax(scores, axis=-1, precise=True).astype(value.dtype)
    if dropout_p > 0:
        kept = mx.random.bernoulli(1 - dropout_p, weights.shape)
        weights = weights * kept / (1 - dropout_p)
    return weights @ value


REDUCTIONS: dict[str, Any] = {
    "aten.mean.default": _reduced(mx.mean),
    "aten.mean.dim": _reduced(mx.mean),
    "aten.sum.default": _reduced(mx.sum),
    "aten.sum.dim_IntList": _reduced(mx.sum),
    "aten.prod.default": lambda self, **_: mx.prod(self),
    "aten.amax.default": _extreme(mx.max),
    "aten.amin.default": _extreme(mx.min),
    "aten.max.default": lambda self: mx.max(self),
    "aten.min.default": lambda self: mx.min(self),
    "aten.max.dim": _with_place(mx.max, mx.argmax),
    "aten.min.dim": _with_place(mx.min, mx.argmin),
    "aten.argmax.default": _place(mx.argmax),
    "aten.argmin.default": _place(mx.argmin),
    **{
        f"aten.{name}.{overload}": _extreme(function)
        for name, function in (("any", mx.any), ("all", mx.all))
        for overload in ("default", "dim", "dims")
    },
    "aten.var.correction": _variance,
    "aten.var.dim": _variance_of_axes,
    "aten.std.dim": lambda *args, **kwargs: mx.sqrt(_variance_of_axes(*args, **kwargs)),
    "aten.logsumexp.default": lambda self, dim, keepdim=False: mx.logsumexp(
        self, dim, keepdims=keepdim
    ),
    "aten.mv.default": _product("self", "vec"),
    "aten.dot.default": _product("self", "tensor"),
    "aten.vdot.default": _product("self", "other"),
    "aten.outer.default": lambda self, vec2: mx.outer(self, vec2),
    "aten.sort.default": lambda self, dim=-1, descending=False: _sorted(
        self, None, dim, descending
    ),
    "aten.topk.default": lambda self, k, dim=-1, largest=True, sorted=True: _sorted(
        self, k, dim, largest
    ),
    "aten.argsort.default": lambda self, dim=-1, descending=False: _sorted(
        self, None, dim, descending
    )[1],
    "aten.std.correction": lambda *args, **kwargs: mx.sqrt(_variance(*args, **kwargs)),
    "aten.linalg_vector_norm.default": _norm,
    "aten.cumsum.default": lambda self, dim, **_: mx.cumsum(self, dim),
    "aten.matmul.default": _product("self", "other"),
    "aten.mm.default": _product("self", "mat2"),
    "aten.bmm.default": _product("self", "mat2"),
    "aten.addmm.default": _addmm,
    "aten.baddbmm.default": lambda self, batch1, batch2, beta=1, alpha=1: _addmm(
        self, batch1, batch2, beta, alpha
    ),
    "aten.einsum.default": lambda equation, tensors, **_: mx.einsum(equation, *tensors),
    "aten.scaled_dot_product_attention.default": _attention,
}
