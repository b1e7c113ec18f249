"""NumPy's scalars, dtypes and arrays, as pickles spell them."""

from __future__ import annotations

from collections.abc import Callable
import math
import re
from typing import Any

from lucid._types import DTYPES
from lucid.files.arrays import shape_problem
from lucid.files.pytorch.plain import Charge
from lucid.files.pytorch.values import Global, NumPyArray, NumPyDtype, RefusedError
import numpy as np

# Numbers, and text and bytes of a fixed length: no objects, no fields, no dates.
_CODE = re.compile(r"\?|b1|[iu][1248]|f[248]|c(8|16)|[US][0-9]{1,6}")
SCALAR_TYPES = {
    f"numpy.{name}": np.dtype(name)
    for name in DTYPES.keys() - {"bfloat16", "bool"} | {"bool_", "complex128"}
}


def _dtype(arguments: tuple[Any, ...], charge: Charge) -> NumPyDtype:
    match arguments:
        case (str(code), *flags) if _CODE.fullmatch(code) and len(flags) <= 2:
            return NumPyDtype(np.dtype(code))
    raise RefusedError("has a NumPy dtype that is not read: no number, text or bytes")


def _build_dtype(value: NumPyDtype, state: Any, charge: Charge) -> None:
    match state:
        case (3, "<" | ">" | "|" | "=" as order, None, None, None, *_):
            value.dtype = value.dtype.newbyteorder(order)
        case _:
            raise RefusedError("has a NumPy dtype of fields or shapes")


def _scalar(arguments: tuple[Any, ...], charge: Charge) -> Any:
    match arguments:
        case (NumPyDtype(dtype), bytes(data)) if dtype.itemsize == len(data) > 0:
            return np.frombuffer(data, dtype)[0].item()
        case (NumPyDtype(dtype), bytes(b"")) if dtype.kind in "US":
            return "" if dtype.kind == "U" else b""
    raise RefusedError("has a NumPy scalar whose bytes are none of its dtype")


def _reconstruct(arguments: tuple[Any, ...], charge: Charge) -> NumPyArray:
    match arguments:
        case (Global("numpy.ndarray"), (0,), b"b" | "b"):
            return NumPyArray()
    raise RefusedError("has a NumPy array that is not read")


def _build_array(value: NumPyArray, state: Any, charge: Charge) -> None:
    match state:
        case (1, shape, NumPyDtype(dtype), bool(fortran), bytes(data)):
            value.array = _array(shape, dtype, data, "F" if fortran else "C", charge)
        case _:
            raise RefusedError("has a NumPy array of objects, or a damaged one")


def _from_buffer(arguments: tuple[Any, ...], charge: Charge) -> NumPyArray:
    """How arrays are spelled in protocol 5."""
    match arguments:
        case (
            bytes() | bytearray() as data,
            NumPyDtype(dtype),
            shape,
            "C" | "F" as order,
        ):
            return NumPyArray(_array(shape, dtype, data, order, charge))
    raise RefusedError("has a NumPy array that is not read")


def _array(
    shape: Any, dtype: np.dtype, data: bytes | bytearray, order: Any, charge: Charge
) -> np.ndarray:
    if type(shape) is not tuple:
        raise RefusedError("has a NumPy array of no shape")
    problem = shape_problem(shape, dtype.itemsize, len(data))
    if dtype.name not in DTYPES:
        problem = f"has dtype {dtype}, which MLX does not have"
    if problem is not None:
        raise RefusedError(f"has a NumPy array that {problem}")
    charge(len(data))
    return np.frombuffer(data, dtype, math.prod(shape)).reshape(shape, order=order)


CALLS: dict[str, Callable[[tuple[Any, ...], Charge], Any]] = {
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.numeric._frombuffer": _from_buffer,
}
BUILDS: dict[type, Callable[[Any, Any, Charge], None]] = {
    NumPyDtype: _build_dtype,
    NumPyArray: _build_array,
}
