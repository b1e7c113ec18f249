"""Shapes, parts and places: nothing is computed."""

from __future__ import annotations

from copy import copy
from typing import Any

from lucid.layout import concatenate
from lucid.nn import functional as F
from lucid.program.operations.creation import checked
import mlx.core as mx


def _view(self: mx.array, size: Any) -> mx.array:
    return self.reshape([int(n) for n in size])


def _slice(
    self: mx.array, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> mx.array:
    axis = dim % self.ndim
    # PyTorch's "to the end" is 2^63 - 1, more than MLX takes.
    place = slice(*slice(start, end, step).indices(self.shape[axis]))
    return self[(slice(None),) * axis + (place,)]


def _select(self: mx.array, dim: int, index: int) -> mx.array:
    return self[(slice(None),) * (dim % self.ndim) + (index,)]


def _squeeze(self: mx.array, dim: Any = None) -> mx.array:
    dims = range(self.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    return mx.squeeze(self, [d for d in dims if self.shape[d] == 1])


def _expand(self: mx.array, size: Any, **_: Any) -> mx.array:
    lead = len(size) - self.ndim
    shape = [
        (self.shape[i - lead] if i >= lead else 1) if n == -1 else n
        for i, n in enumerate(size)
    ]
    return mx.broadcast_to(self, checked(shape))


def _unflatten(self: mx.array, dim: int, sizes: Any) -> mx.array:
    return mx.unflatten(self, dim, list(sizes))


def _parts(self: mx.array, sizes: Any, dim: int) -> list[mx.array]:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return list(mx.split(self, ends, axis=dim)) if ends else [self]


def _split(self: mx.array, split_size: int, dim: int = 0) -> list[mx.array]:
    n = self.shape[dim]
    whole, rest = divmod(n, split_size)
    return _parts(self, [split_size] * whole + [rest] * (rest > 0), dim)


def _chunk(self: mx.array, chunks: int, dim: int = 0) -> list[mx.array]:
    return _split(self, -(-self.shape[dim] // chunks), dim)


def _unbind(self: mx.array, dim: int = 0) -> list[mx.array]:
    return [_select(self, dim, i) for i in range(self.shape[dim])]


def _index(self: mx.array, indices: Any) -> mx.array:
    places = tuple(slice(None) if index is None else index for index in indices)
    if any(isinstance(p, mx.array) and p.dtype == mx.bool_ for p in places):
        raise ValueError(
            "aten.index by a mask makes an array whose size depends on values, which "
            "MLX does not have."
        )
    return self[places]


def _index_put(
    self: mx.array, indices: Any, values: mx.array, accumulate: bool = False
) -> mx.array:
    """`self[indices] = values`, or `+=`; by a mask, of values that it broadcasts."""
    if any(index is not None and index.dtype == mx.bool_ for index in indices):
        return _put_masked(self, indices, values, accumulate)
    places = tuple(slice(None) if index is None else index for index in indices)
    if accumulate:
        return self.at[places].add(values)
    return _put(self, places, values)


def _put_masked(
    self: mx.array, indices: Any, values: mx.array, accumulate: bool
) -> mx.array:
    (mask,) = [index for index in indices if index is not None]
    axis = next(i for i, index in enumerate(indices) if index is not None)
    after = self.ndim - axis - mask.ndim
    if values.size != 1 and (axis > 0 or values.ndim > after):
        raise ValueError(
            "aten.index_put by a mask of several values takes as many as the mask "
            "shows, a number that depends on values, which MLX does not have."
        )
    mask = mask.reshape(*mask.shape, *[1] * after)
    values = values.reshape(()) if values.size == 1 else values
    new = self + values if accumulate else values
    return mx.where(mask, new.astype(self.dtype), self)


def _put(self: mx.array, places: Any, values: Any) -> mx.array:
    y = copy(self)  # another handle: an array that is written stays what it was
    y[places] = values.astype(self.dtype) if isinstance(values, mx.array) else values
    return y


def _slice_scatter(
    self: mx.array,
    src: mx.array,
    dim: int = 0,
    start: Any = None,
    end: Any = None,
    step: int = 1,
) -> mx.array:
    axis = dim % self.ndim
    place = slice(*slice(start, end, step).indices(self.shape[axis]))
    return _put(self, (slice(None),) * axis + (place,), src)


def _scatter(self: mx.array, dim: int, index: mx.array, value: Any) -> mx.array:
    places = list(mx.meshgrid(*map(mx.arange, index.shape), indexing="ij"))
    places[dim] = index
    is_array = isinstance(value, mx.array)
    part = value[tuple(map(slice, index.shape))] if is_array else value
    return _put(self, tuple(places), part)


def _one_hot(self: mx.array, num_classes: int = -1) -> mx.array:
    if num_classes == -1:
        raise ValueError("aten.one_hot needs a `num_classes` that is given.")
    return (self[..., None] == mx.arange(checked([num_classes])[0])).astype(mx.int64)


def _repeat(self: mx.array, repeats: Any) -> mx.array:
    lead = len(repeats) - self.ndim
    shape = (1,) * lead + self.shape
    checked([n * times for n, times in zip(shape, repeats, strict=True)])
    return mx.tile(self, list(repeats))


def _repeat_interleave(
    self: mx.array, repeats: int, dim: int | None = None, **_: Any
) -> mx.array:
    checked([self.size * repeats])
    return mx.repeat(self, repeats, axis=dim)


def _flip(self: mx.array, dims: Any) -> mx.array:
    axes = {d % self.ndim for d in dims}
    steps = (slice(None, None, -1 if i in axes else None) for i in range(self.ndim))
    return self[tuple(steps)]


def _roll(self: mx.array, shifts: Any, dims: Any = ()) -> mx.array:
    if not dims:
        return mx.roll(self, shifts[0])
    return mx.roll(self, tuple(shifts), tuple(dims))  # type: ignore[arg-type]


def _movedim(self: mx.array, source: Any, destination: Any) -> mx.array:
    if isinstance(source, int):
        return mx.moveaxis(self, source, destination)
    order = [i for i in range(self.ndim) if i not in {d % self.ndim for d in source}]
    pairs = zip((d % self.ndim for d in destination), source, strict=True)
    for to, axis in sorted(pairs):
        order.insert(to, axis % self.ndim)
    return mx.transpose(self, order)


def _flatten(self: mx.array, start_dim: int = 0, end_dim: int = -1) -> mx.array:
    return mx.flatten(self, start_dim, end_dim)


def _pad(
    self: mx.array, pad: Any, mode: str = "constant", value: Any = None
) -> mx.array:
    return F.pad(self, [int(n) for n in pad], mode, value)


def _same(self: mx.array, **_: Any) -> mx.array:
    return self


_VIEWS = {
    "aten.alias.default": _same,
    "aten.detach.default": lambda self: mx.stop_gradient(self),
    "aten.view.default": _view,
    "aten.reshape.default": lambda self, shape: _view(self, shape),
    "aten._unsafe_view.default": _view,
    "aten.view_as.default": lambda self, other: self.reshape(other.shape),
    "aten.flatten.using_ints": _flatten,
    "aten.unflatten.int": _unflatten,
    "aten.permute.default": lambda self, dims: mx.transpose(self, list(dims)),
    "aten.transpose.int": lambda self, dim0, dim1: mx.swapaxes(self, dim0, dim1),
    "aten.matrix_H.default": lambda self: mx.swapaxes(self, -2, -1),
    "aten.t.default": lambda self: self.T,
    "aten.numpy_T.default": lambda self: self.T,
    "aten.movedim.int": _movedim,
    "aten.movedim.intlist": _movedim,
    "aten.squeeze.default": _squeeze,
    "aten.squeeze.dim": _squeeze,
    "aten.squeeze.dims": _squeeze,
    "aten.unsqueeze.default": lambda self, dim: mx.expand_dims(self, dim),
    "aten.expand.default": _expand,
    "aten.expand_as.default": lambda self, other: mx.broadcast_to(self, other.shape),
    "aten.slice.Tensor": _slice,
    "aten.select.int": _select,
    "aten.narrow.default": lambda self, dim, start, length: _slice(
        self, dim, start, start + length
    ),
    "aten.split.Tensor": _split,
    "aten.split_with_sizes.default": lambda self, split_sizes, dim=0: _parts(
        self, split_sizes, dim
    ),
    "aten.split.sizes": lambda self, split_size, dim=0: _parts(self, split_size, dim),
    "aten.chunk.default": _chunk,
    "aten.unbind.int": _unbind,
}
VIEWS = frozenset(_VIEWS)
"""Operations whose output, or each of whose outputs, shows the memory of `self`."""

SHAPES: dict[str, Any] = {
    **_VIEWS,
    "aten.clone.default": _same,
    "aten.contiguous.default": _same,
    "aten.lift_fresh_copy.default": _same,
    "aten.cat.default": lambda tensors, dim=0: concatenate(tensors, dim),
    "aten.hstack.default": lambda tensors: mx.concatenate(
        tensors, axis=min(1, tensors[0].ndim - 1)
    ),
    "aten.vstack.default": lambda tensors: mx.concatenate(
        [t[None] if t.ndim == 1 else t for t in tensors], axis=0
    ),
    "aten.stack.default": lambda tensors, dim=0: mx.stack(tensors, axis=dim),
    "aten.index.Tensor": _index,
    "aten.index_put.default": _index_put,
    "aten.slice_scatter.default": _slice_scatter,
    "aten.select_scatter.default": lambda self, src, dim, index: _put(
        self, (slice(None),) * (dim % self.ndim) + (index,), src
    ),
    "aten.scatter.src": lambda self, dim, index, src: _scatter(self, dim, index, src),
    "aten.scatter.value": _scatter,
    "aten.one_hot.default": _one_hot,
    "aten.index_select.default": lambda self, dim, index: mx.take(self, index, dim),
    "aten.gather.default": lambda self, dim, index, **_: mx.take_along_axis(
        self, index, dim
    ),
    "aten.repeat.default": _repeat,
    "aten.tile.default": lambda self, dims: _repeat(
        self, [1] * (self.ndim - len(dims)) + list(dims)
    ),
    "aten.repeat_interleave.self_int": _repeat_interleave,
    "aten.flip.default": _flip,
    "aten.roll.default": _roll,
    "aten.pad.default": _pad,
    "aten.constant_pad_nd.default": lambda self, pad, value=0: _pad(
        self, pad, "constant", value
    ),
    "aten.tril.default": lambda self, diagonal=0: mx.tril(self, diagonal),
    "aten.triu.default": lambda self, diagonal=0: mx.triu(self, diagonal),
    "aten.meshgrid.indexing": lambda tensors, indexing: list(
        mx.meshgrid(*tensors, indexing=indexing)
    ),
}
