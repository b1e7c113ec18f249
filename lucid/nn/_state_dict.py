"""Loading a state dict: everything is checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy as another_handle
from typing import Any, NamedTuple

from lucid._types import DTYPES, FLOAT_DTYPES, dtype_name, plain_numpy, shown
from lucid.nn._first_call import create_from
from lucid.nn._members import Member, array_members, assign, unsaved_names
from lucid.nn._state_dict_error import StateDictError
from lucid.nn._ties import kept_ties, settle_ties
from lucid.nn._uninitialized import uninitialized_names
import mlx.core as mx
import mlx.nn
import numpy as np


class IncompatibleKeys(NamedTuple):
    """The names missing from a state dict, and those that the model does not have."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Dtypes(NamedTuple):
    """What becomes of an array whose dtype is not the model's.

    It is an error, unless it is cast to the model's, or kept where both are floating.
    """

    cast: bool = False
    keep: bool = False


def load_state(
    model: mlx.nn.Module,
    state_dict: Mapping[str, Any],
    strict: bool,
    dtypes: Dtypes,
    copy: bool,
) -> IncompatibleKeys:
    """Check everything, then change anything: see `Module.load_state_dict`."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"`state_dict` must be a dict of arrays, got {type(state_dict).__name__}."
        )
    for name in state_dict:
        if not isinstance(name, str):
            raise TypeError(f"`state_dict` has the name {shown(name)}, no string.")
    settle_ties(model)
    plan = _Plan(dtypes, {name: _as_array(v, copy) for name, v in state_dict.items()})
    for member in array_members(model):
        if member.path not in unsaved_names(member.owner):
            plan.add(member)
    missing = plan.missing()
    unexpected = [name for name in plan.state if name not in plan.names]
    if plan.problems or (strict and (missing or unexpected)):
        reported = (missing, unexpected) if strict else ([], [])
        raise StateDictError(model, plan.problems, *reported, state_dict)
    with kept_ties(model):
        _commit(plan.assignments)
    return IncompatibleKeys(missing, unexpected)


class _Plan:
    """What a state dict would assign, and what is wrong with it."""

    def __init__(self, dtypes: Dtypes, state: Mapping[str, mx.array | str]) -> None:
        self.state = state
        self.names: dict[str, Member] = {}  # in the order of the model
        self.problems: list[str] = []
        self.assignments: list[tuple[mlx.nn.Module, str, mx.array]] = []
        self._dtypes = dtypes
        # A shared lazy layer is met under several names, which must agree on its shape.
        self._shapes: dict[tuple[int, str], tuple[int | None, ...]] = {}

    def add(self, member: Member) -> None:
        name, _, owner, path, current = member
        self.names[name] = member
        if name not in self.state:
            return
        value, key = self.state[name], (id(owner), path)
        expected = self._shapes.get(key) or _expected_shape(owner, path, current)
        if not isinstance(value, mx.array):
            self.problems.append(f"{name}: {value}")
            return
        value = self._of_dtype(value, current.dtype)
        if not fits(value.shape, expected):
            shown = str(expected).replace("None", "any")
            self.problems.append(f"{name}: shape {value.shape}, expected {shown}")
        elif value.dtype != current.dtype and not self._keeps(value, current):
            got, want = dtype_name(value.dtype), dtype_name(current.dtype)
            self.problems.append(f"{name}: dtype {got}, expected {want}")
        else:
            self._shapes[key] = value.shape
            self.assignments.append((owner, path, value))

    def _of_dtype(self, value: mx.array, dtype: mx.Dtype) -> mx.array:
        of_a_kind = any(
            mx.issubdtype(value.dtype, kind) and mx.issubdtype(dtype, kind)
            for kind in (mx.floating, mx.integer)
        )
        if not self._dtypes.cast or value.dtype == dtype or not of_a_kind:
            return value
        return value.astype(dtype, stream=mx.cpu)  # where float64 is known

    def _keeps(self, value: mx.array, current: mx.array) -> bool:
        floating = value.dtype in FLOAT_DTYPES and current.dtype in FLOAT_DTYPES
        return self._dtypes.keep and floating

    def missing(self) -> list[str]:
        """Names without a value, unless that came under another of the same array."""
        given = {id(self.names[name].value) for name in self.names.keys() & self.state}
        return [
            name
            for name, member in self.names.items()
            if name not in self.state
            and id(member.value) not in given
            and member.path not in getattr(member.owner, "optional_in_state_dict", ())
        ]


def _commit(plan: list[tuple[mlx.nn.Module, str, mx.array]]) -> None:
    """Assign what was checked; lazy layers first, whose draws may still fail."""
    lazy: dict[int, tuple[Any, dict[str, mx.array]]] = {}
    for owner, name, value in plan:
        if uninitialized_names(owner):
            lazy.setdefault(id(owner), (owner, {}))[1][name] = value
    create_from(lazy.values())
    for owner, name, value in plan:
        if id(owner) not in lazy:
            assign(owner, name, value)


def _expected_shape(owner: Any, name: str, current: mx.array) -> tuple[int | None, ...]:
    """A parameter's shape; None where a lazy layer takes any length."""
    if name in uninitialized_names(owner):
        return owner.parameter_shapes()[name]
    return current.shape


def fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape is the expected one, None standing for any length but 0."""
    return len(shape) == len(expected) and all(
        length == want or (want is None and length > 0)
        for length, want in zip(shape, expected, strict=True)
    )


def _as_array(value: Any, copy: bool) -> mx.array | str:
    """A copy as an MLX array of the same dtype, or why there is none."""
    if isinstance(value, mx.array):
        return another_handle(value) if copy else value
    refusal = f"{type(value).__name__} is not a numeric array"
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        try:
            return _from_torch(value)
        except (NotImplementedError, RuntimeError, TypeError) as error:
            return f"{refusal} ({str(error).splitlines()[0]})"
    if isinstance(value, np.ndarray | np.generic) and value.dtype.name in DTYPES:
        array = plain_numpy("state_dict", np.asarray(value))
        return mx.array(array, DTYPES[value.dtype.name])
    return refusal


def _from_torch(tensor: Any) -> mx.array:
    """PyTorch's tensor by way of NumPy, which has no bfloat16 but holds its numbers."""
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        return mx.array(tensor.float().numpy()).astype(mx.bfloat16)
    array = tensor.numpy()
    return mx.array(array, DTYPES[array.dtype.name])
