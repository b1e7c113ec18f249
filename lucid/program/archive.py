"""The files of a `.pt2` archive: a graph as JSON, and weights as raw bytes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import IO, Any, NamedTuple

from lucid._types import DTYPES
from lucid.files.archive import Archive
from lucid.files.arrays import BFLOAT16, memory_problem, shape_problem, to_mlx
from lucid.files.error import CheckpointError
import mlx.core as mx
import numpy as np

# How PyTorch numbers dtypes in an export (torch._export.serde.schema.ScalarType).
SCALAR_TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    10: "complex64",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
}
TESTED_SCHEMA = 8
_LONGEST_JSON = 2**28
_SAME = ("dtype", "sizes", "strides", "storage_offset")


class Contents(NamedTuple):
    """What a program is made of.

    Attributes:
        model: the graph and its signature, as PyTorch describes them.
        weights: parameters and persistent buffers by name.
        constants: other arrays by name.
        frozen: the names of parameters that were not trained.
    """

    model: dict[str, Any]
    weights: dict[str, mx.array]
    constants: dict[str, mx.array]
    frozen: frozenset[str]


def read_contents(file: IO[bytes], path: Path) -> Contents:
    """Everything but the sample inputs, which are a pickle.

    Raises:
        CheckpointError: if it is damaged, or no exported program.
    """
    archive = Archive(file, path)
    roots = [name for name in archive.entries if name.endswith("/models/model.json")]
    if len(roots) != 1:
        raise archive.refuse(
            "is no exported program: it has no models/model.json (make one by "
            "torch.export.save(torch.export.export(model, inputs), 'net.pt2'))"
        )
    root = roots[0].removesuffix("models/model.json")
    order = archive.entries.get(f"{root}byteorder")
    if order is not None and archive.read(order, 16).strip() != b"little":
        raise archive.refuse("has weights that are not little-endian")
    model = _json(archive, roots[0])
    _check_schema(archive, model)
    weights, frozen = _arrays(archive, root, "weights")
    constants, _ = _arrays(archive, root, "constants")
    return Contents(model, weights, constants, frozen)


def _json(archive: Archive, name: str) -> dict[str, Any]:
    entry = archive.entries.get(name)
    if entry is None:
        raise archive.refuse("is missing", name)
    try:
        value = json.loads(archive.read(entry, _LONGEST_JSON))
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise archive.refuse(f"is no JSON ({error})", name) from None
    if not isinstance(value, dict):
        raise archive.refuse("is no JSON object", name)
    return value


def _check_schema(archive: Archive, model: dict[str, Any]) -> None:
    version = model.get("schema_version")
    major = version.get("major") if isinstance(version, dict) else None
    if major != TESTED_SCHEMA:
        raise archive.refuse(
            f"has schema {version}, and Lucid reads schema {TESTED_SCHEMA}: export it "
            "again with PyTorch 2.8 or newer (2.13 was tried)"
        )


def _arrays(
    archive: Archive, root: str, kind: str
) -> tuple[dict[str, mx.array], frozenset[str]]:
    """The arrays of a folder by name, and which of them are not trained."""
    folder = f"{root}data/{kind}/"
    config = _json(archive, f"{folder}model_{kind}_config.json").get("config")
    if not isinstance(config, dict):
        raise archive.refuse(f"has no table of {kind}")
    held = [e.size for name, e in archive.entries.items() if name.startswith(folder)]
    problem = memory_problem(sum(held), max(held, default=0))
    if problem is not None:
        raise archive.refuse(problem)
    arrays, frozen = {}, set()
    shared: dict[str, mx.array] = {}  # one array of several names is one here too
    for name, described in config.items():
        try:
            meta = described["tensor_meta"]
            key = json.dumps([described["path_name"], *map(meta.get, _SAME)])
            if key not in shared:
                shared[key] = _array(archive, folder, name, described)
            arrays[name] = shared[key]
            if described["is_param"] and not described["tensor_meta"]["requires_grad"]:
                frozen.add(name)
        except CheckpointError:
            raise
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
        ) as error:
            raise archive.refuse(f"is described wrongly ({error!r})", name) from None
    return arrays, frozenset(frozen)


def _array(archive: Archive, folder: str, name: str, described: Any) -> mx.array:
    if described["use_pickle"]:
        raise archive.refuse(
            "is a pickle, which Lucid does not open: export the program again with "
            "ordinary tensors as its weights",
            name,
        )
    meta = described["tensor_meta"]
    sizes = tuple(_integer(size) for size in meta["sizes"])
    strides = tuple(_integer(stride) for stride in meta["strides"])
    offset = _integer(meta["storage_offset"])
    dtype = SCALAR_TYPES.get(meta["dtype"])
    if dtype is None:
        raise archive.refuse(f"has PyTorch's dtype {meta['dtype']}, not MLX's", name)
    numpy_dtype = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    entry = archive.entries.get(folder + described["path_name"])
    if entry is None:
        raise archive.refuse("has lost its bytes", name)
    if entry.deflated:
        raise archive.refuse("is compressed, as no export is", entry.name)
    data = np.frombuffer(archive.read(entry, entry.size), np.uint8)
    held = data.size // numpy_dtype.itemsize
    problem = _place_problem(sizes, strides, offset, held)
    if problem is not None:
        raise archive.refuse(problem, name)
    if math.prod(sizes) == 0:
        return mx.zeros(sizes, DTYPES[dtype])
    elements = data[: held * numpy_dtype.itemsize].view(numpy_dtype)[offset:]
    steps = [stride * numpy_dtype.itemsize for stride in strides]
    view = np.lib.stride_tricks.as_strided(elements, sizes, steps, writeable=False)
    array = to_mlx(np.ascontiguousarray(view).reshape(sizes))
    return array.astype(mx.float32) if dtype == "float64" else array


def _place_problem(
    sizes: tuple[int, ...], strides: tuple[int, ...], offset: int, held: int
) -> str | None:
    """Why an array does not lie in `held` elements; None if it does."""
    count = math.prod(sizes)
    if len(strides) != len(sizes) or offset < 0 or min(strides, default=0) < 0:
        return "has impossible strides"
    problem = shape_problem(sizes, 1, count)
    if problem is not None or count == 0:
        return problem
    last = offset + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
    if last >= held or count > held:
        return f"claims {max(count, last + 1)} elements, but has {held}"
    return None


def _integer(value: Any) -> int:
    number = value["as_int"]
    if type(number) is not int:
        raise TypeError(f"{number!r} is no int")
    return number
