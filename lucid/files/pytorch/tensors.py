"""PyTorch's tensors, as pickles spell them: views of storages that are elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lucid._types import DTYPES, LONGEST
from lucid.files.arrays import MOST_AXES
from lucid.files.pytorch.plain import Charge
from lucid.files.pytorch.values import (
    Global,
    Placeholder,
    RefusedError,
    Storage,
    Tensor,
)

_ITEMS = {
    **{"Float": "float32", "Double": "float64", "Half": "float16"},
    **{"Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8"},
    **{"Byte": "uint8", "Bool": "bool", "BFloat16": "bfloat16"},
    **{"ComplexFloat": "complex64", "ComplexDouble": "complex128"},
}
_UNTYPED = ("torch.storage.UntypedStorage", "torch.storage._UntypedStorage")
_QUANTIZED = tuple(
    f"torch.{kind}Storage"
    for kind in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")
)
STORAGES: dict[str, str | None] = {
    **{f"torch.{kind}Storage": dtype for kind, dtype in _ITEMS.items()},
    **{f"torch.cuda.{kind}Storage": dtype for kind, dtype in _ITEMS.items()},
    **dict.fromkeys(_UNTYPED),
    **dict.fromkeys(_QUANTIZED),
}
TYPES = {
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
}
# As values: the names that Lucid takes wherever a dtype goes.
DTYPE_NAMES = {
    f"torch.{name}": name
    for name in (
        *DTYPES,
        *("complex32", "complex128"),
        *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
        *("float8_e8m0fnu", "float4_e2m1fn_x2"),
        *("qint8", "quint8", "qint32"),
    )
}
_REFUSED = {
    "_rebuild_sparse_tensor": "a sparse tensor; save `tensor.to_dense()`",
    "_rebuild_qtensor": "a quantized tensor; save `tensor.dequantize()`",
    "_rebuild_meta_tensor_no_storage": "a tensor on the meta device, which has no "
    "numbers; save one that has",
    "_rebuild_nested_tensor": "a nested tensor; save `tensor.unbind()`",
    "_rebuild_wrapper_subclass": "a tensor of another class; save a plain one",
    "_rebuild_device_tensor_from_numpy": "a tensor of a device; save `tensor.cpu()`",
    "_rebuild_device_tensor_from_cpu_tensor": "a tensor of a device; save "
    "`tensor.cpu()`",
}


def storage(identity: Any) -> Storage:
    """The storage of a persistent id."""
    match identity:
        case ("storage", Global(kind), str(key), str(place), int(items), *view):
            pass
        case _:
            raise RefusedError("refers to what is no storage")
    if kind not in STORAGES or isinstance(items, bool) or items < 0:
        raise RefusedError("refers to what is no storage")
    if kind in _QUANTIZED:
        raise RefusedError("has a quantized tensor; save `tensor.dequantize()`")
    if place == "meta":
        raise RefusedError("has a tensor on the meta device, which has no numbers")
    match view:
        case [] | [None]:
            return Storage(key, STORAGES[kind], items, 0, items)
        case [(str(_), int(start), int(length))] if (
            0 <= start <= start + length <= items
        ):
            return Storage(key, STORAGES[kind], items, start, length)
    raise RefusedError("has a damaged view of a storage")


def _tensor_v1(arguments: tuple[Any, ...], charge: Charge) -> Tensor:
    match arguments:
        case (Storage(dtype=str(dtype)), _, _, _):
            return _view(dtype, *arguments)
    raise RefusedError("has a damaged tensor")


def _tensor_v2(arguments: tuple[Any, ...], charge: Charge) -> Tensor:
    match arguments:
        case (Storage(dtype=str(dtype)), _, _, _, bool(), dict(), *metadata):
            return _view(dtype, *arguments[:4], *metadata)
    raise RefusedError("has a damaged tensor")


def _tensor_v3(arguments: tuple[Any, ...], charge: Charge) -> Tensor:
    match arguments:
        case (Storage(), _, _, _, bool(), dict(), Global(name), *metadata) if (
            name in DTYPE_NAMES
        ):
            return _view(DTYPE_NAMES[name], *arguments[:4], *metadata)
    raise RefusedError("has a damaged tensor")


def _view(
    dtype: str,
    storage: Storage,
    offset: Any,
    shape: Any,
    strides: Any,
    metadata: Any = None,
    *more: Any,
) -> Tensor:
    """A tensor that lies within its storage."""
    if dtype not in DTYPES:
        way = "to(torch.complex64)" if "complex" in dtype else "float()"
        raise RefusedError(f"has {dtype}, which MLX does not have; save `tensor.{way}`")
    for value in ((offset,), shape, strides):
        if type(value) is not tuple or any(type(part) is not int for part in value):
            raise RefusedError("has a tensor whose sizes are no numbers")
        if len(value) > MOST_AXES or any(not 0 <= part < 2**62 for part in value):
            raise RefusedError(f"has a tensor of impossible sizes: {value!r:.60}")
    if len(shape) != len(strides) or any(length > LONGEST for length in shape):
        raise RefusedError(f"has a tensor of impossible sizes: {shape!r:.60}")
    items = storage.length
    if storage.dtype is None:
        items //= DTYPES[dtype].size
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and last >= items:
        raise RefusedError(f"has a tensor that needs {last + 1} items of {items}")
    conjugate, negative = _flags(metadata, more)
    return Tensor(storage, dtype, offset, shape, strides, conjugate, negative)


def _flags(metadata: Any, more: tuple[Any, ...]) -> tuple[bool, bool]:
    """Whether the numbers are to be conjugated, and negated."""
    if metadata is None and not more:
        return False, False
    if type(metadata) is dict and not more and metadata.keys() <= {"conj", "neg"}:
        return metadata.get("conj") is True, metadata.get("neg") is True
    raise RefusedError("has a tensor with unknown metadata")


def _parameter(arguments: tuple[Any, ...], charge: Charge) -> Tensor:
    match arguments:
        case (Tensor() as tensor, bool(), dict(), *state) if len(state) <= 1:
            return tensor
    raise RefusedError("has a damaged parameter")


def _of_class(arguments: tuple[Any, ...], charge: Charge) -> Tensor:
    """A tensor that has attributes, or is of a class of its own: the numbers alone."""
    match arguments:
        case (Global(name), Global() | Placeholder() as kind, tuple(parts), _):
            if name in CALLS and (isinstance(kind, Placeholder) or kind.name in TYPES):
                return CALLS[name](parts, charge)
    raise RefusedError("has a damaged tensor")


def _refused(problem: str) -> Callable[[tuple[Any, ...], Charge], Any]:
    def refuse(arguments: tuple[Any, ...], charge: Charge) -> Any:
        raise RefusedError(f"has {problem}")

    return refuse


def _size(arguments: tuple[Any, ...], charge: Charge) -> tuple[int, ...]:
    match arguments:
        case (tuple(lengths),) if all(type(length) is int for length in lengths):
            return lengths
    raise RefusedError("has a damaged torch.Size")


def _device(arguments: tuple[Any, ...], charge: Charge) -> str:
    """`"cpu"`, `"cuda:0"`."""
    match arguments:
        case (str(kind),):
            return kind
        case (str(kind), int(index)):
            return f"{kind}:{index}"
    raise RefusedError("has a damaged torch.device")


def _layout(arguments: tuple[Any, ...], charge: Charge) -> str:
    match arguments:
        case (str(name),):
            return name
    raise RefusedError("has a damaged layout")


CALLS: dict[str, Callable[[tuple[Any, ...], Charge], Any]] = {
    "torch._utils._rebuild_tensor": _tensor_v1,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_class,
    "torch._tensor._rebuild_from_type": _of_class,
    "torch.storage._load_from_bytes": _refused("a storage by itself; save tensors"),
    **{f"torch._utils.{name}": _refused(why) for name, why in _REFUSED.items()},
}
OTHER_CALLS = {
    "torch.Size": _size,
    "torch.device": _device,
    "torch.serialization._get_layout": _layout,
}
